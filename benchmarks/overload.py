"""Three times as many requests as a server can take: what it still answers, and how soon the others are told."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import psutil

from benchmarks.callers import latencies_beside
from benchmarks.h2load import Load, send
from benchmarks.pinned import CLIENT_CORE, PEAK, answered_well, of_players, on_core, port_of
from inference.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.h2load import Measured
    from inference.engine import Engine
    from playfuse.server_process import ServerProcess

OVERLOAD: Final = Load(16, Limits().max_calls_per_connection)
"""No more streams than the server allows: h2load would open them before it has heard of that, and count what is refused
as a failure, where gRPC libraries wait for the server's word or try again unasked."""
FLOOD: Final = Load(64, OVERLOAD.streams)
"""More calls under way than may wait: here some are refused."""
_TIMES: Final = 3.0
_SECONDS: Final = 1.0
"""Of what is offered; to answer it takes three times as long."""
_REFUSED: Final = "RESOURCE_EXHAUSTED"
_CALLERS_BESIDE: Final = 8


def overloaded(server: ServerProcess, engine: Engine, kind: Load, requests: int, turns: int) -> dict[str, Any]:
    """64-player requests over many connections, three times as many as the server can take; medians over turns, each of
    which finds out first what that is.

    h2load sends them at a fixed rate as long as the server allows another stream on the connection, and its clock for a
    request starts when that leaves: a call that is held back costs the server nothing. Latencies are those of all
    replies, refusals and answers; those of each kind are seen by a few callers beside it, who wait for every reply.
    Memory is compared once the buffers of so many calls have been there before.
    """
    seen = [_overloaded_once(server, engine, kind, requests) for _ in range(turns + 1)][1:]
    figures = {name: statistics.median(one[name] for one in seen) for name in seen[0] if name != "beside"}
    beside = {code: [ms for one in seen for ms in one["beside"].get(code, ())] for code in ("OK", _REFUSED)}
    assert all(set(one["beside"]) <= set(beside) for one in seen), "a call ended otherwise"
    return {
        "under_way": kind.connections * kind.streams + _CALLERS_BESIDE,
        **figures,
        "callers_beside": {code: {"calls": len(ms), **_percentiles(ms)} for code, ms in beside.items() if ms},
    }


def _overloaded_once(server: ServerProcess, engine: Engine, kind: Load, requests: int) -> dict[str, Any]:
    request = of_players(engine, 64)
    message, port, process = request.SerializeToString(), port_of(server), psutil.Process(server.pid)
    peak = send(port, message, requests, PEAK, core=CLIENT_CORE).requests_per_second
    offered = _TIMES * peak
    resident, before = process.memory_info().rss, answered_well(server)
    requests = round(_SECONDS * offered)
    load = Load(kind.connections, kind.streams, per_second=offered)
    sent: list[Measured] = []

    def flood() -> None:
        sent.append(send(port, message, requests, load, core=CLIENT_CORE))

    with on_core(CLIENT_CORE):
        beside = latencies_beside(server.address, request, flood, threads=_CALLERS_BESIDE)
    answered = answered_well(server) - before
    goodput = answered * sent[0].requests_per_second / requests
    return {
        "offered_per_second": offered,
        "answered_share": answered / (requests + sum(map(len, beside.values()))),
        "goodput_per_second": goodput,
        "goodput_over_peak": goodput / peak,
        "p99_ms": sent[0].p99_ms,
        "beside": {code: [1_000 * one for one in seconds] for code, seconds in beside.items()},
        "resident_growth_mib": (process.memory_info().rss - resident) / 2**20,
    }


def _percentiles(ms: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(ms, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}
