"""Session histories as flat arrays, and the one set of cleaning rules both halves apply to them.

All times are whole seconds since the Unix epoch in UTC, so every sum over them is exact and does not depend on how
many players are computed together.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SESSION_SECONDS = 36_000
"""Longer sessions (over 10 h) are taken for a client left open, as the GameTime authors do."""

COOP_UNKNOWN = -1
"""Value of `SessionTable.coop` where the log does not say whether a session was co-operative."""


@dataclass(frozen=True, slots=True)
class SessionTable:
    """Sessions of many players, one player after the other, each player's in order of start.

    Attributes:
        start_seconds: (sessions,) int64, Unix seconds, UTC.
        duration_seconds: (sessions,) int64.
        coop: (sessions,) int8: 1 co-operative, 0 alone, -1 unknown.
    """

    start_seconds: NDArray[np.int64]
    duration_seconds: NDArray[np.int64]
    coop: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.start_seconds)

    @property
    def end_seconds(self) -> NDArray[np.int64]:
        """(sessions,) Unix seconds at which each session ended."""
        return self.start_seconds + self.duration_seconds

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> SessionTable:
        """The sessions at `index`, an index array or a mask."""
        return SessionTable(*(getattr(self, field.name)[index] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """One history per row: the sessions `begin[row]:end[row]` of the table, all started by `as_of_seconds[row]`.

    Rows may overlap: offline, the rows of one player share that player's sessions.

    Attributes:
        sessions: the sessions of all rows.
        begin: (rows,) int64, index of the row's first session.
        end: (rows,) int64, one past the row's last session; always > begin.
        as_of_seconds: (rows,) int64, the moment at which the prediction is made, Unix seconds.
    """

    sessions: SessionTable
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    as_of_seconds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begin)


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """How many sessions cleaning took away, by reason, and how many it left. `merged` ones live on in another."""

    read: int = 0
    non_positive_duration: int = 0
    over_10_hours: int = 0
    out_of_window: int = 0
    duplicate: int = 0
    merged_overlap: int = 0

    @property
    def dropped(self) -> dict[str, int]:
        """Reason → number of sessions taken away."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "read"}

    @property
    def kept(self) -> int:
        """Sessions left."""
        return self.read - sum(self.dropped.values())


def clean(
    player: NDArray[np.int64],
    sessions: SessionTable,
    *,
    window_start_seconds: int | None = None,
    window_end_seconds: int | None = None,
) -> tuple[NDArray[np.int64], SessionTable, CleaningReport]:
    """Sort, drop what cannot be a session, drop exact duplicates, merge one player's overlapping sessions.

    The rules of Vuorre et al. 2022 (Royal Society Open Science): non-positive durations, durations over 10 hours and
    sessions outside the window go; overlaps of one player become one session from the first start to the last end.

    Args:
        player: (sessions,) any integer key of each session's player; need not be sorted.
        sessions: the sessions as read, in any order.
        window_start_seconds: sessions that start before this are dropped.
        window_end_seconds: sessions that end after this are dropped.

    Returns:
        The player keys and the sessions left, sorted by player, then start; and the count of what was taken away.
        A merged session longer than 10 hours is kept: it is made of sessions that were each plausible.
    """
    read = len(sessions)
    reasons: dict[str, int] = {}

    def keep(mask: NDArray[np.bool_], reason: str) -> None:
        nonlocal player, sessions
        reasons[reason] = int(mask.size - np.count_nonzero(mask))
        if reasons[reason]:
            player, sessions = player[mask], sessions.take(mask)

    keep(sessions.duration_seconds > 0, "non_positive_duration")
    keep(sessions.duration_seconds <= MAX_SESSION_SECONDS, "over_10_hours")
    inside = np.ones(len(sessions), dtype=np.bool_)
    if window_start_seconds is not None:
        inside &= sessions.start_seconds >= window_start_seconds
    if window_end_seconds is not None:
        inside &= sessions.end_seconds <= window_end_seconds
    keep(inside, "out_of_window")

    # Of two equal sessions the one that knows more of co-op comes first and stays, whatever the order of the log.
    order = np.lexsort((-sessions.coop, sessions.duration_seconds, sessions.start_seconds, player))
    player, sessions = player[order], sessions.take(order)
    if len(sessions) > 1:
        repeated = (
            (np.diff(player) == 0) & (np.diff(sessions.start_seconds) == 0) & (np.diff(sessions.duration_seconds) == 0)
        )
        keep(np.concatenate(([True], ~repeated)), "duplicate")
    player, sessions, reasons["merged_overlap"] = _merge_overlaps(player, sessions)
    return player, sessions, CleaningReport(read=read, **reasons)


def _merge_overlaps(player: NDArray[np.int64], sessions: SessionTable) -> tuple[NDArray[np.int64], SessionTable, int]:
    if len(sessions) < 2:
        return player, sessions, 0
    new_player = np.concatenate(([True], np.diff(player) != 0))
    # A running maximum of ends that restarts with each player: lift every player's times above the one before.
    span = np.int64(sessions.end_seconds.max() - sessions.start_seconds.min() + 1)
    lift = np.cumsum(new_player).astype(np.int64) * span
    latest_end = np.maximum.accumulate(sessions.end_seconds + lift)
    opens = new_player.copy()
    opens[1:] |= (sessions.start_seconds + lift)[1:] >= latest_end[:-1]
    first = np.flatnonzero(opens)
    merged = len(sessions) - len(first)
    if not merged:
        return player, sessions, 0
    end = np.maximum.reduceat(sessions.end_seconds, first)
    start = sessions.start_seconds[first]
    # One co-operative part makes the whole session co-operative; unknown (-1) only where every part is.
    coop = np.maximum.reduceat(sessions.coop, first)
    return player[first], SessionTable(start, end - start, coop), merged
