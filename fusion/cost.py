"""What scoring one lobby costs: CPU time of an ONNX graph on this machine, teachers and fused network alike.

CPU time, not wall time: it is what the lobby takes away from everything else, and it does not count what other
processes do meanwhile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import numpy as np

from inference.contract.passport import Energy
from inference.energy.meter import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOBBY_PLAYERS: Final = 64
REPEATS: Final = 15
REPEAT_SECONDS: Final = 0.01
ENERGY_SECONDS: Final = 0.5


def cpu_us(calls: Sequence[Callable[[], object]], *, repeats: int = REPEATS) -> list[float]:
    """CPU microseconds of each call: medians over repeats in which the calls take turns.

    Taking turns lets a slow spell of a shared machine hit all alike, so that ratios between calls stay fair.

    Args:
        calls: what to time; each runs in this thread only.
        repeats: of the whole round.
    """
    loops = [_loops(call) for call in calls]
    seen: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for index, call in enumerate(calls):
            seen[index].append(_time(call, loops[index]))
    return [float(np.median(times)) for times in seen]


def energy(score_lobby: Callable[[], object]) -> Energy:
    """Joules per lobby over half a second of scoring: counters and CPU clocks are too coarse for one.

    Args:
        score_lobby: scores one lobby; nothing else should run beside it.
    """
    meter = choose()
    before = sum(meter.read().values())
    lobbies, started = 0, time.perf_counter()
    while time.perf_counter() - started < ENERGY_SECONDS:
        score_lobby()
        lobbies += 1
    return Energy(source=meter.source, joules_per_lobby=(sum(meter.read().values()) - before) / lobbies)


def _loops(call: Callable[[], object]) -> int:
    call()
    once_us = max(_time(call, 3), 1.0)
    return max(1, int(REPEAT_SECONDS * 1e6 / once_us))


def _time(call: Callable[[], object], loops: int) -> float:
    started = time.thread_time_ns()
    for _ in range(loops):
        call()
    return (time.thread_time_ns() - started) / loops / 1000.0
