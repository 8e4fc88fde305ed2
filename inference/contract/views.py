"""Views of a batch of histories that features are computed from: sums over sessions, the last T sessions, the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inference.contract.behaviours import DAY_SECONDS
from inference.contract.exact import prefix_sum
from inference.contract.history import COOP_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from inference.contract.history import HistoryBatch

MINUTES_PER_DAY: Final = 1_440
_LONGEST_SECONDS: Final = 10 * 365 * DAY_SECONDS
"""Gaps and merged sessions count as this at most, so that no squared sum over a few of them can leave int64."""
_CHUNK_ROWS: Final = 16_384
# The Unix epoch was a Thursday; with this shift day 0 of a week is a Monday.
_EPOCH_WEEKDAY: Final = 3


class Totals:
    """Prefix sums over the session table: the sum over sessions a..b is `prefix[b] - prefix[a]`, exactly."""

    def __init__(self, batch: HistoryBatch) -> None:
        sessions = batch.sessions
        self.playtime_seconds = prefix_sum(sessions.duration_seconds)
        day = sessions.start_seconds // DAY_SECONDS
        self.opens_day = np.ones(len(sessions), dtype=np.int64)
        self.opens_day[1:] = np.diff(day) != 0
        self.days_opened = prefix_sum(self.opens_day)


class Recent:
    """The last T sessions of some rows, newest first: (rows, T) arrays.

    Attributes:
        present: whether the history has such a session.
        has_gap: whether it has one before that, too.
        start_seconds: int64; meaningless where not `present`.
        duration_seconds: int64; 0 where not `present`.
        gap_seconds: int64, from the end of the session before; 0 where not `has_gap`.
        coop: int8; unknown where not `present`.
    """

    def __init__(self, batch: HistoryBatch, rows: slice, length: int) -> None:
        sessions = batch.sessions
        begin, end = batch.begin[rows, None], batch.end[rows, None]
        index = end - 1 - np.arange(length)
        self.present = index >= begin
        self.has_gap = index > begin
        safe = np.maximum(index, 0)
        before = np.maximum(index - 1, 0)
        self.start_seconds = sessions.start_seconds[safe]
        duration = np.minimum(sessions.duration_seconds[safe], _LONGEST_SECONDS)
        self.duration_seconds = np.where(self.present, duration, 0)
        previous_end = sessions.start_seconds[before] + sessions.duration_seconds[before]
        gap = np.minimum(self.start_seconds - previous_end, _LONGEST_SECONDS)
        self.gap_seconds = np.where(self.has_gap, gap, 0)
        self.coop = np.where(self.present, sessions.coop[safe], np.int8(COOP_UNKNOWN))


def chunks(rows: int) -> Iterator[slice]:
    """Slices of rows small enough that a chunk's arrays stay in the processor's cache and memory stays flat."""
    for start in range(0, rows, _CHUNK_ROWS):
        yield slice(start, min(start + _CHUNK_ROWS, rows))


def minute_of_day(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Minute of the day, UTC, of Unix seconds."""
    return (seconds % DAY_SECONDS) // 60


def weekday(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Day of the week, UTC, of Unix seconds: 0 is Monday."""
    return (seconds // DAY_SECONDS + _EPOCH_WEEKDAY) % 7
