"""Labels: what happened after each session, as far as the log tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference.contract.behaviours import (
    COOP_BEHAVIOUR,
    DAY_SECONDS,
    DEFAULT_BEHAVIOURS,
    HOUR_SECONDS,
    LONG_SESSION_SECONDS,
    Behaviour,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.telemetry.log import SessionLog


def behaviours(log: SessionLog) -> tuple[Behaviour, ...]:
    """The behaviours that the log can label: the default ones, and co-op where the log knows it."""
    ordered = list(DEFAULT_BEHAVIOURS.values())
    if log.knows_coop:
        ordered.insert(sum(behaviour.is_binary for behaviour in ordered), COOP_BEHAVIOUR)
    return tuple(ordered)


def compute_labels(log: SessionLog) -> NDArray[np.float32]:
    """Label every session of the log: the moment of prediction, `as_of`, is its end.

    Windows are half open: a session belongs to the window when `as_of <= start < as_of + window`.

    Returns:
        (sessions, behaviours) float32 on the served scale. NaN: censored, because the window passes the log's end, or
        because the log shows no next session (or not whether it was co-operative).
    """
    future = _Future(log)
    labelled = behaviours(log)
    labels = np.empty((len(log.sessions), len(labelled)), dtype=np.float32)
    for column, behaviour in enumerate(labelled):
        labels[:, column] = _label(behaviour, future)
    return labels


def _label(behaviour: Behaviour, future: _Future) -> NDArray[np.float64]:
    window = behaviour.window_seconds
    if window is None:
        return future.next_long() if behaviour.name == "next_session_long" else future.next_coop()
    name = behaviour.name
    if name.startswith("churn"):
        values = (future.next_gap_seconds >= window).astype(np.float64)
    elif name.startswith("return"):
        values = (future.next_gap_seconds < window).astype(np.float64)
    elif name.startswith("playtime"):
        values = future.playtime_seconds(window) / HOUR_SECONDS
    elif name.startswith("sessions"):
        values = future.sessions(window).astype(np.float64)
    else:
        values = np.minimum(future.next_gap_seconds, window) / HOUR_SECONDS
    return np.where(future.is_told(window), values, np.nan)


class _Future:
    """What follows each session, in vectorised form: no loop over rows."""

    def __init__(self, log: SessionLog) -> None:
        self._log = log
        start, end = log.sessions.start_seconds, log.sessions.end_seconds
        self._end = end
        self._has_next = np.zeros(len(start), dtype=np.bool_)
        self._has_next[:-1] = log.player[1:] == log.player[:-1]
        never = np.iinfo(np.int64).max
        self.next_gap_seconds = np.full(len(start), never)
        self.next_gap_seconds[:-1] = np.where(self._has_next[:-1], start[1:] - end[:-1], never)
        # Lift every player's times above the one before: one sorted axis, on which one search serves all rows.
        span = int(end.max() - start.min()) + 15 * DAY_SECONDS
        self._lift = log.player * span
        self._lifted_start = start + self._lift
        self._playtime = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(log.sessions.duration_seconds)))

    def is_told(self, window_seconds: int) -> NDArray[np.bool_]:
        """Whether the log reaches to the end of the window."""
        return self._end + window_seconds <= self._log.end_seconds

    def _window_end(self, window_seconds: int) -> NDArray[np.intp]:
        """One past the last session that starts within the window."""
        return np.searchsorted(self._lifted_start, self._end + self._lift + window_seconds, side="left")

    def sessions(self, window_seconds: int) -> NDArray[np.int64]:
        """Sessions that start within the window."""
        return self._window_end(window_seconds) - np.arange(1, len(self._end) + 1)

    def playtime_seconds(self, window_seconds: int) -> NDArray[np.int64]:
        """Seconds played within the window: a session that runs past its end counts up to there."""
        last = self._window_end(window_seconds)
        first = np.arange(1, len(self._end) + 1)
        played = self._playtime[last] - self._playtime[first]
        # Sessions of a player do not overlap, so only the last one can run past the end.
        overrun = np.maximum(self._end[last - 1] - (self._end + window_seconds), 0)
        return played - np.where(last > first, overrun, 0)

    def next_long(self) -> NDArray[np.float64]:
        """Whether the next session is a long one; NaN where there is none."""
        is_long = self._log.sessions.duration_seconds > LONG_SESSION_SECONDS
        return self._of_next(is_long.astype(np.float64))

    def next_coop(self) -> NDArray[np.float64]:
        """Whether the next session is co-operative; NaN where there is none or it is not known."""
        coop = self._log.sessions.coop
        return self._of_next(np.where(coop >= 0, coop, np.nan))

    def _of_next(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        following = np.full(len(values), np.nan)
        following[:-1] = np.where(self._has_next[:-1], values[1:], np.nan)
        return following
