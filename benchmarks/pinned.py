"""Servers on one core and what loads them on the other, for everything that is measured of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.callers import packed
from benchmarks.h2load import Load
from playfuse import server_process
from playfuse.demo.metrics import Scrape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inference.engine import Engine
    from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
    from playfuse.server_process import ServerProcess

SERVER_CORE, CLIENT_CORE = 0, 1
PEAK: Final = Load(4, 16)
"""What keeps a server busy and lets nobody wait for long."""


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside runs on this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def echo(reply_bytes: int, transport: str) -> Iterator[tuple[int, int]]:
    """A bare server; its port and process id."""
    with on_core(SERVER_CORE):
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_echo", str(reply_bytes), transport],
            stdout=subprocess.PIPE,
            text=True,
        )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def playfuse(artifact: Path, folder: Path, transport: str) -> Iterator[ServerProcess]:
    """The real server."""
    with on_core(SERVER_CORE):
        server = server_process.start([str(artifact), "--transport", transport], folder / "server.log")
    try:
        yield server
    finally:
        server.stop()


def answered_well(server: ServerProcess) -> int:
    """Predict calls that ended OK so far, not counting degraded ones."""
    seen = Scrape.read(server.metrics_url)
    ok = seen.total("playfuse_request_seconds_count", method="Predict", code="OK")
    return int(ok - seen.total("playfuse_degraded_total"))


def port_of(server: ServerProcess) -> int:
    """Of its gRPC."""
    return int(server.address.rpartition(":")[2])


def of_players(engine: Engine, players: int) -> pb.PredictRequest:
    """A request."""
    return packed(np.random.default_rng(0).exponential(2.0, size=(players, engine.features)).astype(np.float32))
