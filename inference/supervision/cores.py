"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_QUOTA_FILE: Final = Path("/sys/fs/cgroup/cpu.max")
"""`QUOTA PERIOD` in microseconds, or `max PERIOD` (cgroup v2)."""


def usable(quota_file: Path = _QUOTA_FILE) -> list[int]:
    """The cores to use: those that the scheduler allows, no more of them than a container's quota pays for."""
    cores = sorted(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
        paid = len(cores) if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no such file outside of containers and on older kernels
        return cores
    return cores[:paid]
