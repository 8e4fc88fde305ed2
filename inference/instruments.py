"""A counter and a histogram that do next to nothing, for they are used on every request.

prometheus_client's own look up labels and keep more than is needed here, several times on the way of one small request.
These only count; `inference.exposition` turns them into Prometheus families when they are scraped.
"""

from __future__ import annotations

import collections
import threading
from bisect import bisect_left
from typing import Final, NamedTuple

_FEW: Final = 4


class Counter:
    """Only goes up."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._lock = threading.Lock()

    def add(self, amount: float = 1) -> None:
        """Count `amount` more."""
        with self._lock:
            self._value += amount

    @property
    def value(self) -> float:
        """The count so far."""
        return self._value


class Distribution(NamedTuple):
    """What a histogram holds at one moment."""

    counts: tuple[int, ...]
    """Observations per bucket, the last one above every bound; not cumulated."""
    total: float
    """Sum of all observations."""


class Histogram:
    """Counts observations per bucket. A bucket's bound belongs to it (`le`).

    Args:
        bounds: upper bounds of the buckets, rising; one more bucket holds what is above.
    """

    __slots__ = ("_counts", "_lock", "_total", "bounds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, *values: float) -> None:
        """Count observations: what came together is often alike, and is then counted in one go."""
        bounds, counts = self.bounds, self._counts
        if len(values) <= _FEW:
            with self._lock:
                for value in values:
                    counts[bisect_left(bounds, value)] += 1
                    self._total += value
            return
        first, count = values[0], len(values)
        alike = {first: count} if values.count(first) == count else collections.Counter(values)
        with self._lock:
            for value, times in alike.items():
                counts[bisect_left(bounds, value)] += times
                self._total += value * times

    def read(self) -> Distribution:
        """A consistent copy."""
        with self._lock:
            return Distribution(tuple(self._counts), self._total)
