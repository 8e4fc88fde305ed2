"""An estimate from CPU time, for machines that hide their energy counters (most virtual ones)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_WATTS_PER_CORE: Final = 3.5
"""Watts of one fully busy virtual core: the mean maximum over cloud servers that the methodology of Cloud Carbon
Footprint (cloudcarbonfootprint.org, from SPECpower results) gives for AWS. A studio that knows its machines says so
with `--watts-per-core`: package power under full load divided by its hardware threads."""


class EstimateMeter:
    """CPU seconds of this process times the watts of a busy core. Idle power, memory and cooling are left out.

    Args:
        watts_per_core: watts of one busy core.
        cpu_seconds: CPU time of this process so far.
    """

    source: Final = "estimate"

    def __init__(self, watts_per_core: float, cpu_seconds: Callable[[], float] = time.process_time) -> None:
        self._watts_per_core = watts_per_core
        self._cpu_seconds = cpu_seconds
        self._start_seconds = cpu_seconds()

    def read(self) -> Mapping[str, float]:
        """`cpu` → joules since the meter was made."""
        return {"cpu": self._watts_per_core * (self._cpu_seconds() - self._start_seconds)}
