"""Load on a gRPC method by grpcio, the client that most callers have; like `h2load.send`, from one core.

A client in Python takes longer over a call than the server does: with it the server waits, and what is measured is
whether real callers get their answers as they do from a bare server. `python -m benchmarks.grpc_load` is the process
that sends.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from benchmarks.h2load import Load, Measured
from inference.contract.errors import PlayfuseError
from inference.services.player_behavior import SERVICE

_TIMEOUT_SECONDS: Final = 60.0


def send(port: int, message: bytes, requests: int, load: Load, *, core: int) -> Measured:
    """Send the same message so many times to `Predict` on loopback, from one core.

    Raises:
        PlayfuseError: a request failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body"
        body.write_bytes(message)
        command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.grpc_load"]
        command += [str(port), str(body), str(requests), str(load.connections), str(load.streams)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if result.returncode:
        raise PlayfuseError("grpc_load", got=result.stderr[-2_000:], expected=f"{requests} replies")
    return Measured(**json.loads(result.stdout))


def load_here(port: int, message: bytes, requests: int, load: Load) -> Measured:
    """The same from this process, on whatever cores it has.

    Raises:
        grpc.RpcError: a request failed; the first that did.
    """
    seconds: list[float] = []
    failed: list[BaseException] = []
    room = threading.Semaphore(load.connections * load.streams)
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(load.connections)]
    methods: list[grpc.UnaryUnaryMultiCallable[bytes, bytes]] = [
        channel.unary_unary(f"/{SERVICE}/Predict") for channel in channels
    ]
    for channel in channels:
        grpc.channel_ready_future(channel).result(_TIMEOUT_SECONDS)

    def start(number: int) -> None:
        began = time.perf_counter()

        def ended(call: grpc.Future[bytes]) -> None:
            seconds.append(time.perf_counter() - began)
            if (error := call.exception()) is not None:
                failed.append(error)
            room.release()

        methods[number % load.connections].future(message, _TIMEOUT_SECONDS).add_done_callback(ended)

    started = time.perf_counter()
    for number in range(requests):
        room.acquire()
        start(number)
    for _ in range(load.connections * load.streams):
        room.acquire()
    rate = requests / (time.perf_counter() - started)
    for channel in channels:
        channel.close()
    if failed:
        raise failed[0]
    p50, p99 = np.percentile(seconds, [50, 99]) * 1_000
    return Measured(rate, float(p50), float(p99))


def main() -> None:
    parser = argparse.ArgumentParser(description="Send the same message many times, tell how fast that went as JSON.")
    parser.add_argument("port", type=int)
    parser.add_argument("message", type=Path, help="file that holds it")
    for name in ("requests", "connections", "streams"):
        parser.add_argument(name, type=int)
    arguments = parser.parse_args()
    load = Load(arguments.connections, arguments.streams)
    measured = load_here(arguments.port, arguments.message.read_bytes(), arguments.requests, load)
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
