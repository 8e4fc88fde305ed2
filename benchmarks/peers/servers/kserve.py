"""KServe's Python SDK: grpc.aio, all teachers in one process. It batches gRPC requests nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers import environments, processes
from benchmarks.peers.servers.adapter import NO_BATCHING, OpenInference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.peers.processes import Running
    from benchmarks.peers.servers.adapter import Place, Setting


class KServe(OpenInference):
    """Eight models in one `kserve` server."""

    name = "kserve"
    title = f"KServe SDK {environments.version('kserve', 'kserve')} (gRPC)"
    settings: Mapping[str, Setting] = NO_BATCHING

    def prepare(self, cache: Path) -> None:
        """Its environment."""
        environments.python_of(self.name, cache)

    def start(self, setting: Setting, place: Place) -> Running:
        """Start it."""
        port = processes.free_port()
        command = environments.script(self.name, place.cache, "kserve_app")
        command += ["--models", str(place.models.teachers), "--port", str(port)]
        return processes.start(
            command, port, place.scratch / "log", core=place.core, environment=environments.variables()
        )
