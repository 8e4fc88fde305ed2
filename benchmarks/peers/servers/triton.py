"""Triton: the server's binary out of the `nvidia-pytriton` wheel, its Python backend, a process per teacher.

pytriton's own `Triton.bind` runs the models in the caller's process behind a proxy, which costs about five times as
much per request as Triton's Python backend by itself; so the backend is used directly.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.peers import environments, processes
from benchmarks.peers.servers.adapter import BATCHING, OpenInference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.peers.processes import Running
    from benchmarks.peers.servers.adapter import Place, Setting

_APPS: Final = environments.ROOT / "benchmarks" / "peers" / "apps"
_BATCH_ROWS: Final = 4_096
_ASK: Final = (
    "import json, sys, sysconfig; print(json.dumps([sysconfig.get_path('purelib'), sysconfig.get_config_var('LIBDIR'),"
    " '%d.%d' % sys.version_info[:2]]))"
)


class Triton(OpenInference):
    """`tritonserver` with a model repository."""

    name = "triton"
    title = f"Triton, nvidia-pytriton {environments.version('triton', 'nvidia-pytriton')}, Python backend (gRPC)"
    settings: Mapping[str, Setting] = BATCHING

    def prepare(self, cache: Path) -> None:
        """Its environment."""
        environments.python_of(self.name, cache)

    def start(self, setting: Setting, place: Place) -> Running:
        """Lay out its repository and start it."""
        python = environments.python_of(self.name, place.cache)
        said = subprocess.run([str(python), "-c", _ASK], capture_output=True, text=True, check=True).stdout
        packages, libraries, version = json.loads(said)
        server = Path(packages) / "pytriton" / "tritonserver"
        repository, backend = place.scratch / "models", place.scratch / "backends" / "python"
        # The wheel has a stub per version of Python; the backend looks for one beside itself.
        backend.mkdir(parents=True)
        stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
        for file in (*(server / "backends" / "python").iterdir(), stub):
            (backend / file.name).symlink_to(file)
        for model in sorted(place.models.teachers.glob("*.onnx")):
            lay_out(repository / model.stem, model, setting)
        port = processes.free_port()
        command = [str(server / "bin" / "tritonserver"), f"--model-repository={repository}"]
        command += [f"--backend-directory={backend.parent}", "--exit-timeout-secs=3"]
        command += ["--allow-http=false", "--allow-metrics=false", "--grpc-address=127.0.0.1", f"--grpc-port={port}"]
        # The stub ignores PYTHONPATH: its packages are those of the first `python3` on PATH.
        path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        variables = environments.variables(LD_LIBRARY_PATH=libraries, PATH=path)
        return processes.start(command, port, place.scratch / "log", core=place.core, environment=variables)


def lay_out(folder: Path, model: Path, setting: Setting) -> None:
    """A teacher in the model repository; the backend imports from the model's own folder, so all of it is in there."""
    (folder / "1").mkdir(parents=True)
    for name, file in {
        "model.onnx": model,
        "model.py": _APPS / "triton_model.py",
        "teacher.py": _APPS / "teacher.py",
    }.items():
        (folder / "1" / name).symlink_to(file.resolve())
    (folder / "config.pbtxt").write_text(config(model.stem, setting))


def config(model: str, setting: Setting) -> str:
    """A model's `config.pbtxt`; its batches are counted in rows, not in requests."""
    batching = f"dynamic_batching {{ max_queue_delay_microseconds: {1_000 * setting.wait_ms} }}\n"
    return (
        f'name: "{model}"\nbackend: "python"\nmax_batch_size: {_BATCH_ROWS}\n'
        'input [{ name: "features", data_type: TYPE_FP32, dims: [ -1 ] }]\n'
        'output [{ name: "links", data_type: TYPE_FP32, dims: [ 1 ] }]\n'
        "instance_group [{ kind: KIND_CPU, count: 1 }]\n" + (batching if setting.batch > 1 else "")
    )
