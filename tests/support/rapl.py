"""A machine whose energy counters a test moves on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from inference.energy.rapl import RaplMeter

if TYPE_CHECKING:
    from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
RANGE_MICROJOULES = 262_143_328_850


class Machine:
    """A powercap tree and a /proc/stat, as files that a test moves on."""

    def __init__(self, folder: Path) -> None:
        self.powercap = folder / "powercap"
        self.proc_stat = folder / "stat"
        self.cpu_seconds = 5.0
        self.zone("intel-rapl:0", "package-0", 1_000_000)
        self.zone("intel-rapl:0:0", "core", 500_000)
        self.zone("intel-rapl:1", "psys", 900_000)
        self.busy(100.0)

    def zone(self, folder: str, name: str, microjoules: int) -> None:
        path = self.powercap / folder
        path.mkdir(parents=True)
        (path / "name").write_text(f"{name}\n")
        (path / "max_energy_range_uj").write_text(f"{RANGE_MICROJOULES}\n")
        (path / "energy_uj").write_text(f"{microjoules}\n")

    def energy(self, microjoules: int, folder: str = "intel-rapl:0") -> None:
        (self.powercap / folder / "energy_uj").write_text(f"{microjoules}\n")

    def busy(self, seconds: float) -> None:
        """Busy time spread over the busy fields; idle, iowait, guest and guest_nice are to be left out."""
        ticks = round(seconds * TICKS)
        fields = [ticks - 6 * TICKS, TICKS, TICKS, 999_999, 888_888, TICKS, TICKS, 2 * TICKS, 777_777, 666_666]
        self.proc_stat.write_text(f"cpu  {' '.join(map(str, fields))}\ncpu0 1 2 3 4 5 6 7 8 9 10\n")

    def meter(self) -> RaplMeter:
        return RaplMeter(self.powercap, proc_stat=self.proc_stat, cpu_seconds=lambda: self.cpu_seconds)
