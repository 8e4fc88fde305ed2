"""playfuse: the network fused from the eight teachers, one call for all behaviours."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np
import psutil

from benchmarks.callers import packed
from benchmarks.peers.calls import Call
from benchmarks.peers.processes import Running
from benchmarks.peers.servers.adapter import Setting
from benchmarks.pinned import on_core, port_of
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.services.player_behavior import SERVICE
from playfuse import server_process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.peers.servers.adapter import Place
    from benchmarks.peers.work import Job

_AS_IT_COMES: Final = {"as it comes": Setting()}


class Playfuse:
    """`playfuse serve ARTIFACT`, as it comes."""

    name = "playfuse"
    title = f"playfuse {version('playfuse')} (gRPC, one fused model)"
    settings: Mapping[str, Setting] = _AS_IT_COMES

    def prepare(self, cache: Path) -> None:
        """Nothing: it is installed."""

    def start(self, setting: Setting, place: Place) -> Running:
        """Start it and wait until it is ready."""
        with on_core(place.core):
            server = server_process.start([str(place.models.artifact)], place.scratch / "log")
        return Running(psutil.Process(server.pid), port_of(server), server.log)

    def calls(self, job: Job) -> Sequence[Call]:
        """One."""
        request = packed(job.fused_rows)
        request.nan_is_missing = True  # real players: not everyone has a third gap
        return [Call(f"/{SERVICE}/Predict", request.SerializeToString())]

    def expected(self, job: Job) -> Sequence[NDArray[np.float32]]:
        """What the network says: (players, behaviours)."""
        return [job.predictions]

    def read(self, reply: bytes) -> NDArray[np.float32]:
        """Predictions (players, behaviours)."""
        message = pb.PredictResponse.FromString(reply)
        return np.frombuffer(message.values, "<f4").reshape(message.rows, len(message.behaviours))
