"""LitServe: HTTP/1.1 by uvicorn, a worker process per teacher."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers import environments, processes
from benchmarks.peers.calls import Call
from benchmarks.peers.servers.adapter import BATCHING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.peers.processes import Running
    from benchmarks.peers.servers.adapter import Place, Setting
    from benchmarks.peers.work import Job


class LitServe:
    """A route per teacher; packed float32 as base64 in JSON both ways."""

    name = "litserve"
    title = f"LitServe {environments.version('litserve', 'litserve')} (HTTP/1.1, JSON)"
    settings: Mapping[str, Setting] = BATCHING

    def prepare(self, cache: Path) -> None:
        """Its environment."""
        environments.python_of(self.name, cache)

    def start(self, setting: Setting, place: Place) -> Running:
        """Start it."""
        port = processes.free_port()
        command = environments.script(self.name, place.cache, "litserve_app")
        command += ["--models", str(place.models.teachers), "--port", str(port)]
        command += ["--batch", str(setting.batch), "--wait-ms", str(setting.wait_ms)]
        return processes.start(
            command, port, place.scratch / "log", core=place.core, environment=environments.variables()
        )

    def calls(self, job: Job) -> Sequence[Call]:
        """One per behaviour."""
        body = json.dumps({"rows": b64encode(job.teacher_rows.astype("<f4").tobytes()).decode()}).encode()
        return [
            Call(f"/{behaviour}", body, grpc=False, http2=False, content_type="application/json")
            for behaviour in job.links
        ]

    def expected(self, job: Job) -> Sequence[NDArray[np.float32]]:
        """What each teacher says."""
        return list(job.links.values())

    def read(self, reply: bytes) -> NDArray[np.float32]:
        """Links."""
        return np.frombuffer(b64decode(json.loads(reply)["links"]), "<f4")
