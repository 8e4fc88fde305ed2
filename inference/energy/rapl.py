"""Measured energy: the RAPL counters of the kernel's powercap tree (Documentation/power/powercap/powercap.rst).

Only package domains are read: core, uncore and (on most servers) DRAM lie inside them and must not be added twice.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

POWERCAP: Final = Path("/sys/class/powercap")
PROC_STAT: Final = Path("/proc/stat")
_MICROJOULES: Final = 1e-6
_IDLE_FIELDS: Final = (3, 4)
"""idle and iowait among the numbers of /proc/stat's first line (proc_stat(5))."""
_BUSY_FIELDS: Final = 8
"""What follows `steal` (guest, guest_nice) is part of `user` and `nice` already."""


@dataclass(slots=True)
class _Domain:
    counter: Path
    range_microjoules: int
    last_microjoules: int
    pending_joules: float = 0.0
    joules: float = 0.0

    def advance(self) -> None:
        """Read the counter, which starts anew at its range. Sound if read at least once per turn (about an hour)."""
        now = _number(self.counter)
        spent = now - self.last_microjoules
        if spent < 0:
            spent += self.range_microjoules
        self.last_microjoules = now
        self.pending_joules += spent * _MICROJOULES


class RaplMeter:
    """The part of the package energy that is this process's: its part of the machine's busy CPU time.

    Args:
        powercap: the powercap folder, `intel-rapl:N` zones in it (AMD's kernel driver uses the same names).
        proc_stat: the kernel's CPU times.
        cpu_seconds: CPU time of this process so far.

    Raises:
        OSError: there is no package zone, or its counter is not readable by this user.
    """

    source: Final = "rapl"

    def __init__(
        self,
        powercap: Path = POWERCAP,
        *,
        proc_stat: Path = PROC_STAT,
        cpu_seconds: Callable[[], float] = time.process_time,
    ) -> None:
        self._proc_stat = proc_stat
        self._cpu_seconds = cpu_seconds
        self._lock = threading.Lock()
        self._domains = {name: _open(zone) for name, zone in _packages(powercap)}
        if not self._domains:
            msg = f"{powercap}: no package zone"
            raise FileNotFoundError(msg)
        self._last_busy = _busy_seconds(proc_stat)
        self._last_cpu = cpu_seconds()

    def read(self) -> Mapping[str, float]:
        """`package-N` → joules of this process since the meter was made."""
        with self._lock:
            busy, cpu = _busy_seconds(self._proc_stat), self._cpu_seconds()
            for domain in self._domains.values():
                domain.advance()
            # The kernel counts busy time in ticks of 10 ms: wait for one to pass rather than divide by nothing.
            if busy > self._last_busy:
                share = min(1.0, (cpu - self._last_cpu) / (busy - self._last_busy))
                self._last_busy, self._last_cpu = busy, cpu
                for domain in self._domains.values():
                    domain.joules += share * domain.pending_joules
                    domain.pending_joules = 0.0
            return {name: domain.joules for name, domain in self._domains.items()}


def _packages(powercap: Path) -> list[tuple[str, Path]]:
    zones = sorted(powercap.glob("intel-rapl:*"))
    named = [((zone / "name").read_text().strip(), zone) for zone in zones if zone.name.count(":") == 1]
    return [(name, zone) for name, zone in named if name.startswith("package")]


def _open(zone: Path) -> _Domain:
    counter = zone / "energy_uj"
    return _Domain(counter, _number(zone / "max_energy_range_uj"), _number(counter))


def _number(path: Path) -> int:
    return int(path.read_text())


def _busy_seconds(proc_stat: Path) -> float:
    with proc_stat.open() as file:
        times = [int(field) for field in file.readline().split()[1 : _BUSY_FIELDS + 1]]
    busy = sum(ticks for field, ticks in enumerate(times) if field not in _IDLE_FIELDS)
    return busy / os.sysconf("SC_CLK_TCK")
