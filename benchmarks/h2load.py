"""Load on a gRPC method by `h2load` (Debian: nghttp2-client): a client in C leaves the other core to the server."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.contract.errors import PlayfuseError
from inference.services.player_behavior import SERVICE


@dataclass(frozen=True, slots=True)
class Load:
    """How the requests are sent.

    Attributes:
        connections: each with `streams` requests under way.
        streams: per connection.
        per_second: requests per second over all connections; None: the next one leaves when a reply is there.
    """

    connections: int
    streams: int
    per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it. Latencies are those of single requests."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float


def framed(message: bytes) -> bytes:
    """A message as gRPC sends it: not compressed, length, content."""
    return struct.pack(">BI", 0, len(message)) + message


def send(port: int, message: bytes, requests: int, load: Load, *, core: int) -> Measured:
    """Send the same message so many times to `Predict` on loopback, from one core.

    h2load looks at the HTTP status only: what the replies say is for the caller to check, from the server's metrics.

    Raises:
        PlayfuseError: h2load is missing, or a request failed.
    """
    program = shutil.which("h2load")
    if program is None:
        raise PlayfuseError(
            "h2load", got="no such program", expected="h2load on PATH", fix="apt-get install nghttp2-client"
        )
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder) / "body", Path(folder) / "log"
        body.write_bytes(framed(message))
        command = ["taskset", "-c", str(core), program, "-t", "1", "-n", str(requests)]
        command += ["-c", str(load.connections), "-m", str(load.streams), "-d", str(body), f"--log-file={log}"]
        if load.per_second is not None:
            command += [f"--rps={max(1, round(load.per_second / load.connections))}"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [f"http://127.0.0.1:{port}/{SERVICE}/Predict"]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        rate = re.search(r"finished in .*?, ([\d.]+) req/s", result.stdout)
        if rate is None or f" {requests} succeeded" not in result.stdout:
            raise PlayfuseError("h2load", got=result.stdout + result.stderr, expected=f"{requests} replies")
        micros = np.loadtxt(log, usecols=2)
    p50, p99 = np.percentile(micros, [50, 99]) / 1_000
    return Measured(float(rate[1]), float(p50), float(p99))
