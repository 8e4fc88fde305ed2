"""mosec: HTTP in Rust, a worker process per teacher."""

from __future__ import annotations

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


class Mosec:
    """A route per teacher; packed float32 both ways."""

    name = "mosec"
    title = f"mosec {environments.version('mosec', 'mosec')} (HTTP)"
    settings: Mapping[str, Setting] = BATCHING

    def prepare(self, cache: Path) -> None:
        """Its environment."""
        environments.python_of(self.name, cache)

    def start(self, setting: Setting, place: Place) -> Running:
        """Start it."""
        port = processes.free_port()
        command = environments.script(self.name, place.cache, "mosec_app")
        command += ["--models", str(place.models.teachers), "--port", str(port)]
        command += ["--batch", str(setting.batch), "--wait-ms", str(setting.wait_ms)]
        return processes.start(
            command, port, place.scratch / "log", core=place.core, environment=environments.variables()
        )

    def calls(self, job: Job) -> Sequence[Call]:
        """One per behaviour.

        Lobbies go over HTTP/1.1, which it answers up to twice as fast. Of single players more are under way than it
        lets connections wait (128), so theirs share HTTP/2 connections.
        """
        body = job.teacher_rows.astype("<f4").tobytes()
        http2 = len(job.teacher_rows) == 1
        return [Call(f"/{behaviour}", body, grpc=False, http2=http2) for behaviour in job.links]

    def expected(self, job: Job) -> Sequence[NDArray[np.float32]]:
        """What each teacher says."""
        return list(job.links.values())

    def read(self, reply: bytes) -> NDArray[np.float32]:
        """Links."""
        return np.frombuffer(reply, "<f4")
