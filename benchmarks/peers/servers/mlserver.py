"""MLServer: grpc.aio, all teachers in its one process (workers of its own would only share the one core)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from benchmarks.peers import environments, processes
from benchmarks.peers.servers.adapter import BATCHING, OpenInference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.peers.processes import Running
    from benchmarks.peers.servers.adapter import Place, Setting

_MODEL: Final = "benchmarks.peers.apps.mlserver_model.TeacherModel"


class MLServer(OpenInference):
    """`mlserver start FOLDER`, with a folder of settings per teacher."""

    name = "mlserver"
    title = f"MLServer {environments.version('mlserver', 'mlserver')} (gRPC)"
    settings: Mapping[str, Setting] = BATCHING

    def prepare(self, cache: Path) -> None:
        """Its environment."""
        environments.python_of(self.name, cache)

    def start(self, setting: Setting, place: Place) -> Running:
        """Write its folders and start it."""
        port, http_port = processes.free_port(), processes.free_port()
        server = {
            "host": "127.0.0.1",
            "grpc_port": port,
            "http_port": http_port,
            "metrics_endpoint": None,
            "parallel_workers": 0,
            "debug": False,
        }
        (place.scratch / "settings.json").write_text(json.dumps(server))
        batching = {"max_batch_size": setting.batch, "max_batch_time": setting.wait_ms / 1_000}
        for model in sorted(place.models.teachers.glob("*.onnx")):
            folder = place.scratch / model.stem
            folder.mkdir()
            described = {"name": model.stem, "implementation": _MODEL, "parameters": {"uri": str(model.resolve())}}
            (folder / "model-settings.json").write_text(json.dumps(described | (batching if setting.batch > 1 else {})))
        python = environments.python_of(self.name, place.cache)
        command = [str(python.parent / "mlserver"), "start", str(place.scratch)]
        return processes.start(
            command, port, place.scratch / "log", core=place.core, environment=environments.variables()
        )
