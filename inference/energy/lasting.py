"""A meter for a server: it outlasts counters that cannot be read any more."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.energy.meter import Meter

_LOG = logging.getLogger(__name__)


class LastingMeter:
    """While a meter fails, tells what it told last: energy is no reason to end a server, nor to hide its other metrics.

    Args:
        meter: to read.
    """

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._lock = threading.Lock()
        self._last: Mapping[str, float] = {}
        self._fails = False
        self.read()

    @property
    def source(self) -> str:
        """See `Meter`."""
        return self._meter.source

    def read(self) -> Mapping[str, float]:
        """See `Meter`; a failure is logged once, until the meter works again."""
        with self._lock:
            try:
                self._last = self._meter.read()
                self._fails = False
            except (OSError, ValueError) as error:
                if not self._fails:
                    _LOG.warning("energy stays at its last value, the counters cannot be read: %s", error)
                self._fails = True
            return self._last
