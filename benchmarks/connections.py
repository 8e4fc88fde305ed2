"""Measures how many connections a server holds: `python -m benchmarks.connections`, into `results/connections.json`.

Thousands of idle connections stay open while others call in a closed loop; in the end each idle one proves with an
HTTP/2 ping that the server still holds it. Idle ones are plain sockets that speak just enough HTTP/2 (RFC 9113): the
client needs no thread for each.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import struct
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, cast

import grpc
import numpy as np
import psutil
import typer

from benchmarks.callers import packed
from inference import open_files
from inference.client import Client
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from playfuse import server_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.pb.playfuse.v1 import player_behavior_pb2 as pb

RESULT: Final = Path(__file__).parent / "results" / "connections.json"
PATIENCE_SECONDS: Final = 60.0
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, ACKNOWLEDGED = 0x4, 0x6, 0x1
_CALLING_THREADS: Final = 8


class IdleConnection:
    """One that was opened properly and then says nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=PATIENCE_SECONDS)
        self._socket.sendall(PREFACE + _frame(SETTINGS, 0, b""))
        while self._read()[:2] != (SETTINGS, 0):
            pass
        self._socket.sendall(_frame(SETTINGS, ACKNOWLEDGED, b""))

    def is_held(self) -> bool:
        """Whether the server still answers on it."""
        content = os.urandom(8)
        try:
            self._socket.sendall(_frame(PING, 0, content))
            while (frame := self._read())[0] != PING or not frame[1] & ACKNOWLEDGED:
                pass
        except OSError:
            return False
        return frame[2] == content

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _read(self) -> tuple[int, int, bytes]:
        """Type, flags and payload of the next frame."""
        head = self._exactly(9)
        length = int.from_bytes(head[:3], "big")
        return head[3], head[4], self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            part = self._socket.recv(count - len(content))
            if not part:
                msg = "the server closed the connection"
                raise ConnectionError(msg)
            content += part
        return content


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, 0) + payload


@dataclass(frozen=True)
class Held:
    """What came of it."""

    idle: int
    idle_held: int
    active: int
    seconds: float
    calls: int
    failed: int
    p50_ms: float
    p99_ms: float
    resident_mb_before: float
    resident_mb_with_all: float
    open_files: int


def hold(address: str, pid: int, request: pb.PredictRequest, *, idle: int, active: int, calls_each: int) -> Held:
    """Open all connections, call over the active ones, ask the idle ones whether they are still held."""
    host, _, port = address.rpartition(":")
    process = psutil.Process(pid)
    before = process.memory_info().rss
    with ExitStack() as stack:
        waiting = [IdleConnection(host, int(port)) for _ in range(idle)]
        for one in waiting:
            stack.callback(one.close)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        channels = [stack.enter_context(grpc.insecure_channel(address, options=options)) for _ in range(active)]
        stubs = [PlayerBehaviorStub(channel) for channel in channels]
        for stub in stubs:
            stub.Predict(request, timeout=PATIENCE_SECONDS, wait_for_ready=True)
        began = time.perf_counter()
        seconds, failed = _call(stubs, request, calls_each)
        took = time.perf_counter() - began
        resident, files = process.memory_info().rss, process.num_fds()
        held = sum(one.is_held() for one in waiting)
    p50, p99 = np.percentile(seconds, (50, 99)) * 1_000
    return Held(
        idle=idle,
        idle_held=held,
        active=active,
        seconds=took,
        calls=len(seconds),
        failed=len(failed),
        p50_ms=float(p50),
        p99_ms=float(p99),
        resident_mb_before=before / 2**20,
        resident_mb_with_all=resident / 2**20,
        open_files=files,
    )


def _call(stubs: list[PlayerBehaviorStub], request: pb.PredictRequest, each: int) -> tuple[list[float], list[str]]:
    """Durations of the calls, each thread going round over its share of the connections; statuses of failed ones."""
    seconds: list[float] = []
    failed: list[str] = []

    def caller(own: list[PlayerBehaviorStub]) -> None:
        for stub in (stub for _ in range(each) for stub in own):
            began = time.perf_counter()
            try:
                stub.Predict(request, timeout=PATIENCE_SECONDS)
            except grpc.RpcError as error:
                failed.append(cast("grpc.Call", error).code().name)
            seconds.append(time.perf_counter() - began)

    threads = [
        threading.Thread(target=caller, args=(stubs[first::_CALLING_THREADS],)) for first in range(_CALLING_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, failed


def request_for(address: str) -> pb.PredictRequest:
    """One player of the model that is served there."""
    with Client(address, timeout_seconds=PATIENCE_SECONDS) as client:
        return packed(np.ones((1, len(client.describe().features)), dtype=np.float32))


def _cases(idle: int, active: int) -> Iterator[tuple[str, tuple[str, ...], int, int]]:
    yield "one process, few connections", (), 0, 8
    yield "one process", (), idle, active


def main(
    idle: Annotated[int, typer.Option()] = 2_000,
    active: Annotated[int, typer.Option()] = 200,
    calls_each: Annotated[int, typer.Option(help="Calls over each active connection.")] = 50,
) -> None:
    open_files.raise_limit()
    cases = {}
    for name, arguments, idle_here, active_here in _cases(idle, active):
        with tempfile.TemporaryDirectory() as folder:
            server = server_process.start(["--demo", *arguments], Path(folder) / "log")
            try:
                request = request_for(server.address)
                each = calls_each * active // active_here
                held = hold(server.address, server.pid, request, idle=idle_here, active=active_here, calls_each=each)
            finally:
                server.stop()
        cases[name] = asdict(held)
        print(name, held, flush=True)
    stored = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "cases": cases}
    RESULT.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
