"""What an energy meter is, and which one this machine offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inference.energy.estimate import DEFAULT_WATTS_PER_CORE, EstimateMeter
from inference.energy.rapl import POWERCAP, RaplMeter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Meter(Protocol):
    """Energy of this process since the meter was made."""

    @property
    def source(self) -> str:
        """`rapl` (measured) or `estimate`; one meter never mixes them."""
        ...

    def read(self) -> Mapping[str, float]:
        """Domain → joules so far; never falls. May be called from any thread."""
        ...


def choose(*, powercap: Path = POWERCAP, watts_per_core: float | None = None) -> Meter:
    """RAPL where its counters are readable (most systems: by root only), otherwise the estimate.

    Args:
        powercap: the kernel's powercap folder.
        watts_per_core: watts of one busy core, for the estimate.
    """
    try:
        return RaplMeter(powercap)
    except OSError:
        return EstimateMeter(DEFAULT_WATTS_PER_CORE if watts_per_core is None else watts_per_core)
