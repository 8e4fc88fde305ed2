"""Measures the server: `python -m benchmarks.serving`, results in `benchmarks/results/serving.json`.

1. Each transport beside a bare echo on that transport in the same run: the same options, the same message sizes, the
   server on core 0, the client on core 1, taking turns, medians over the turns; and CPU time per request, which
   tells the same where other work shares the machine. Load by `h2load`, and once more by grpcio's own client.
2. p99 against p50 at half of the peak load, sent evenly (`paced`), and of the bare echo at the same; three times the
   peak.
3. Start to ready, resident memory; 10,000 requests from 64 threads checked by value; SIGTERM under load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
import timeit
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import numpy as np
import psutil

from benchmarks import grpc_load
from benchmarks.callers import outcomes_while_stopping, wrong_replies
from benchmarks.h2load import Load, send
from benchmarks.overload import FLOOD, OVERLOAD, overloaded
from benchmarks.paced import send_evenly
from benchmarks.pinned import (
    CLIENT_CORE,
    PEAK,
    SERVER_CORE,
    answered_well,
    echo,
    of_players,
    on_core,
    playfuse,
    port_of,
)
from inference import engine as engines
from inference.cli import demo_artifact
from inference.console import console
from inference.services.player_behavior import SERVICE
from inference.settings import Limits
from playfuse import server_process

if TYPE_CHECKING:
    from typing import Protocol

    from benchmarks.h2load import Measured
    from benchmarks.paced import Evenly
    from inference.engine import Engine
    from playfuse.server_process import ServerProcess

    class Sender(Protocol):
        """A kind of load."""

        def __call__(self, port: int, message: bytes, requests: int, load: Load, *, core: int) -> Measured:
            """Send the same message so many times."""
            ...


RESULTS: Final = Path(__file__).parent / "results" / "serving.json"
CASES: Final = {
    "1 player, 1 in flight": (1, Load(1, 1), 2_000),
    "1 player, 64 in flight": (1, PEAK, 12_000),
    "64 players, 16 in flight": (64, Load(4, 4), 8_000),
    "64 players, 64 in flight": (64, PEAK, 8_000),
}
"""Name → players per request, how they are sent, requests per turn."""
TRANSPORTS: Final = {"native": 4, "grpcio": 1}
"""Name → how many times as many requests a turn is long: the faster the transport, the more it takes to tell."""
CLIENT_REQUESTS: Final = 4_000
"""At most of a turn by grpcio's client, which takes its time."""
TURNS: Final = 5
STARTS: Final = 5
CALLERS: Final = 64
CHECKED_REQUESTS: Final = 10_000


def turn(port: int, pid: int, message: bytes, requests: int, load: Load, sender: Sender = send) -> dict[str, float]:
    """One turn of load on one server, with the CPU time it took."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    measured = sender(port, message, requests, load, core=CLIENT_CORE)
    after = process.cpu_times()
    cpu_seconds = after.user + after.system - before.user - before.system
    return {**asdict(measured), "cpu_us_per_request": 1e6 * cpu_seconds / requests}


def beside_the_echo(
    server: ServerProcess, engine: Engine, transport: str, players: int, load: Load, requests: int, turns_wanted: int
) -> dict[str, Any]:
    """The real server and the bare one in turns; medians and their ratio."""
    message = of_players(engine, players).SerializeToString()
    reply_bytes = _reply_bytes(server, message)
    with echo(reply_bytes, transport) as (echo_port, echo_pid):
        sides = {"echo": (echo_port, echo_pid), "playfuse": (port_of(server), server.pid)}
        measured = _in_turns(sides, server, message, requests, load, turns_wanted, send)
        fewer = min(requests, CLIENT_REQUESTS)
        return {
            "request_bytes": len(message),
            "reply_bytes": reply_bytes,
            "graph_us_per_request": graph_us(engine, players, load),
            **measured,
            "grpc_client": _in_turns(sides, server, message, fewer, load, turns_wanted, grpc_load.send),
        }


def _in_turns(
    sides: dict[str, tuple[int, int]],
    server: ServerProcess,
    message: bytes,
    requests: int,
    load: Load,
    turns_wanted: int,
    sender: Sender,
) -> dict[str, Any]:
    """Medians of each side (name → port, process id), and of the ratios of its turns."""
    turns: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for port, pid in sides.values():
        turn(port, pid, message, requests // 4, load, sender)
    for number in range(turns_wanted):
        for side in sorted(sides, reverse=bool(number % 2)):
            port, pid = sides[side]
            before = answered_well(server)
            turns[side].append(turn(port, pid, message, requests, load, sender))
            expected = requests if side == "playfuse" else 0
            assert answered_well(server) - before == expected, "requests were refused or degraded"
    medians = {
        side: {figure: statistics.median(t[figure] for t in turns[side]) for figure in turns[side][0]} for side in turns
    }
    ratios = {
        figure: statistics.median(
            ours[figure] / bare[figure] for ours, bare in zip(turns["playfuse"], turns["echo"], strict=True)
        )
        for figure in ("requests_per_second", "cpu_us_per_request")
    }
    return {
        **medians,
        "throughput_ratio": ratios["requests_per_second"],
        "cpu_ratio": 1 / ratios["cpu_us_per_request"],
    }


def graph_us(engine: Engine, players: int, load: Load) -> float:
    """What a request costs the engine alone in the largest run that such a load can fill: no server comes below."""
    requests = max(1, min(load.connections * load.streams, Limits().max_batch_rows // players))
    rows = np.random.default_rng(0).exponential(2.0, size=(requests * players, engine.features)).astype(np.float32)
    with on_core(SERVER_CORE):
        timer = timeit.Timer(lambda: engine.run(rows))
        loops, _ = timer.autorange()
        return 1e6 * statistics.median(timer.repeat(number=loops)) / loops / requests


def _reply_bytes(server: ServerProcess, message: bytes) -> int:
    with grpc.insecure_channel(server.address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/Predict")
        return len(call(message, timeout=30))


def at_half_load(
    server: ServerProcess, engine: Engine, transport: str, peak_per_second: float, turns: int
) -> dict[str, Any]:
    """Latencies of 64-player requests sent evenly at half of what the server can take, and of the bare echo's replies.

    What stops the machine for a moment stops the echo too: that is in both, but in few of the tenths of a second, whose
    median tells what the server does by itself.
    """
    message = of_players(engine, 64).SerializeToString()
    requests, per_second = round(peak_per_second), peak_per_second / 2
    seen: dict[str, list[Evenly]] = {"echo": [], "playfuse": []}
    with echo(_reply_bytes(server, message), transport) as (echo_port, _):
        for _ in range(turns):
            for side, port in (("echo", echo_port), ("playfuse", port_of(server))):
                seen[side].append(send_evenly(port, message, requests, per_second, 4, core=CLIENT_CORE))
    latencies = {side: _latencies(measured) for side, measured in seen.items()}
    return {"requests_per_second": per_second, **latencies["playfuse"], "echo": latencies["echo"]}


def _latencies(measured: list[Evenly]) -> dict[str, float]:
    names = ("p50_ms", "p99_ms", "usual_p99_ms")
    p50, p99, usual_p99 = (statistics.median(getattr(m, name) for m in measured) for name in names)
    return {
        "p50_ms": p50,
        "p99_ms": p99,
        "p99_over_p50": p99 / p50,
        "usual_p99_ms": usual_p99,
        "usual_p99_over_p50": usual_p99 / p50,
    }


def starts(artifact: Path, folder: Path) -> dict[str, float]:
    """Seconds from the command to ready, and memory when ready: medians of fresh processes, on all cores."""
    seconds, resident = [], []
    for _ in range(STARTS):
        began = time.monotonic()
        server = server_process.start([str(artifact)], folder / "start.log")
        seconds.append(time.monotonic() - began)
        resident.append(psutil.Process(server.pid).memory_info().rss / 2**20)
        server.stop()
    return {"ready_seconds": statistics.median(seconds), "resident_mib": statistics.median(resident)}


def stopping(artifact: Path, folder: Path, engine: Engine, transport: str) -> dict[str, Any]:
    """SIGTERM while 16 callers keep it busy."""
    server = server_process.start([str(artifact), "--transport", transport], folder / "stop.log")
    ended, exit_code = outcomes_while_stopping(
        server.address, engine.features, server.stop, threads=16, answers_before=2_000
    )
    lost = sum(count for status, count in ended.items() if status not in ("OK", "UNAVAILABLE"))
    return {"exit_code": exit_code, "answered": ended["OK"], "told_to_go_elsewhere": ended["UNAVAILABLE"], "lost": lost}


def one_transport(artifact: Path, folder: Path, engine: Engine, transport: str, turns: int) -> dict[str, Any]:
    """Everything that is measured once per transport."""
    cases = {}
    with playfuse(artifact, folder, transport) as server:
        for name, (players, load, requests) in CASES.items():
            console.print(f"{transport}: {name}")
            requests *= TRANSPORTS[transport]
            cases[name] = beside_the_echo(server, engine, transport, players, load, requests, turns)
        peak = cases["64 players, 64 in flight"]["playfuse"]["requests_per_second"]
        console.print(f"{transport}: half load, overload, identity, SIGTERM")
        half = at_half_load(server, engine, transport, peak, turns)
        requests = CASES["64 players, 64 in flight"][2] * TRANSPORTS[transport]
        over, flood = (overloaded(server, engine, load, requests, turns) for load in (OVERLOAD, FLOOD))
        wrong = wrong_replies(server.address, engine, requests=CHECKED_REQUESTS, threads=CALLERS)
        resident = psutil.Process(server.pid).memory_info().rss / 2**20
    return {
        "cases": cases,
        "half_load": half,
        "overload": over,
        "flood": flood,
        "identity": {"requests": CHECKED_REQUESTS, "threads": CALLERS, "wrong": wrong},
        "resident_mib_after_load": resident,
        "sigterm": stopping(artifact, folder, engine, transport),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the server beside bare echoes.")
    parser.add_argument("artifact", nargs="?", type=Path, default=demo_artifact(), help="default: the demo model")
    parser.add_argument("--turns", type=int, default=TURNS, help="of every case; fewer for trying out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    loaded, engine = engines.load(arguments.artifact)
    results: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "model": {
            "name": loaded.manifest.name,
            "features": engine.features,
            "behaviours": engine.behaviours,
            "bytes": len(loaded.model),
        },
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        results["transports"] = {
            transport: one_transport(arguments.artifact, folder, engine, transport, arguments.turns)
            for transport in TRANSPORTS
        }
        results["start"] = starts(arguments.artifact, folder)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    console.print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
