"""Features of a history: the one module that computes them, offline and in the server.

Every reduction (counts, sums, squared sums, weighted sums) runs over int64 and is therefore exact: the result of a row
cannot depend on the rows beside it, on vector width or on the order of summation. Floating point enters only in a last
elementwise division or square root, which IEEE 754 rounds correctly. So the same history gives the same bits
everywhere; `tests/property/test_features.py` holds this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inference.contract.behaviours import DAY_SECONDS, HOUR_SECONDS, LONG_SESSION_SECONDS
from inference.contract.exact import (
    circle,
    deviation,
    first_after,
    half_life_weights,
    median,
    ratio,
    weighted_mean,
)
from inference.contract.views import MINUTES_PER_DAY, Recent, Totals, chunks, minute_of_day, weekday

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.contract.history import HistoryBatch

FEATURE_VERSION: Final = 1
"""Raised whenever any feature of any history changes; the server refuses an artifact built with another one."""

SEQUENCE_LENGTH: Final = 32
"""T: how many of the last sessions the sequence and the recent-session features look at."""

SEQUENCE_CHANNELS: Final = (
    "present",
    "session_hours",
    "gap_before_hours",
    "start_hour_sin",
    "start_hour_cos",
    "start_weekday_sin",
    "start_weekday_cos",
    "coop",
)
"""Last axis of `compute_sequences`; all zero where a history has fewer than T sessions."""

_WINDOWS_DAYS: Final = (1, 3, 7, 14, 28)
_RECENT: Final = 8
_ECHO_WEEKS: Final = 4

FEATURE_NAMES: Final[tuple[str, ...]] = (
    "recency_hours",
    "tenure_days",
    "sessions_total",
    *(f"sessions_{days}d" for days in _WINDOWS_DAYS),
    *(f"playtime_{days}d_hours" for days in _WINDOWS_DAYS),
    *(f"active_days_{days}d" for days in _WINDOWS_DAYS[2:]),
    "sessions_change_7d",
    "playtime_change_7d_hours",
    "session_1_hours",
    "session_2_hours",
    "session_3_hours",
    "session_mean_hours",
    "session_ewm2_hours",
    "session_ewm8_hours",
    "session_std8_hours",
    "session_max8_hours",
    "long_share_ewm4",
    "long_share_32",
    "gap_1_hours",
    "gap_2_hours",
    "gap_3_hours",
    "gap_mean_hours",
    "gap_ewm2_hours",
    "gap_ewm8_hours",
    "gap_std8_hours",
    "gap_max8_hours",
    "gap_median_32_hours",
    "gap_under_24h_share_32",
    "gap_under_72h_share_32",
    "start_ahead_6h_share_32",
    "start_ahead_12h_share_32",
    "week_echo_share_4",
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
    "coop_last",
    "coop_share_8",
    "coop_ewm2",
    "coop_ewm8",
    "coop_share_32",
)
"""Columns of `compute`. `session_1` is the current session, `gap_1` the pause before it. NaN: not known (no earlier
session, no co-op flag).

Habit: `start_ahead_6h_share_32` is the share of the last 32 sessions that started at a time of day within the 6 hours
after `as_of`; `week_echo_share_4` the share of the last four weeks (those after the first session) in which a session
started in the 24 hours that the next 24 hours repeat."""


_DAY_SIN, _DAY_COS = circle(MINUTES_PER_DAY)
_WEEK_SIN, _WEEK_COS = circle(7)
_EWM = {half_life: half_life_weights(half_life, SEQUENCE_LENGTH) for half_life in (2, 4, 8)}


def compute(batch: HistoryBatch) -> NDArray[np.float32]:
    """Features of every history.

    Args:
        batch: histories, each with at least one session.

    Returns:
        (rows, len(FEATURE_NAMES)) float32; NaN where a feature is not known.
    """
    features = np.empty((len(batch), len(FEATURE_NAMES)), dtype=np.float32)
    totals = Totals(batch)
    for rows in chunks(len(batch)):
        columns = _columns(batch, totals, rows)
        for column, name in enumerate(FEATURE_NAMES):
            features[rows, column] = columns[name]
    return features


def compute_sequences(batch: HistoryBatch) -> NDArray[np.float32]:
    """The last T sessions of every history, oldest first, the newest always in the last place.

    Returns:
        (rows, SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)) float32; zeros before a history's first session.
    """
    sequences = np.zeros((len(batch), SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)), dtype=np.float32)
    for rows in chunks(len(batch)):
        recent = Recent(batch, rows, SEQUENCE_LENGTH)
        start = recent.start_seconds
        minute, day = minute_of_day(start), weekday(start)
        channels = (
            recent.present,
            recent.duration_seconds / HOUR_SECONDS,
            recent.gap_seconds / HOUR_SECONDS,
            _DAY_SIN[minute],
            _DAY_COS[minute],
            _WEEK_SIN[day],
            _WEEK_COS[day],
            recent.coop == 1,
        )
        for index, values in enumerate(channels):
            sequences[rows, :, index] = np.where(recent.present, values, 0.0)[:, ::-1]
    return sequences


def _columns(batch: HistoryBatch, totals: Totals, rows: slice) -> dict[str, NDArray[np.float64]]:
    recent = Recent(batch, rows, SEQUENCE_LENGTH)
    as_of = batch.as_of_seconds[rows]
    first = batch.begin[rows]
    last = batch.end[rows] - 1
    sessions = batch.sessions
    start, duration = sessions.start_seconds, sessions.duration_seconds
    columns: dict[str, NDArray[np.float64]] = {
        "recency_hours": (as_of - start[last] - duration[last]) / HOUR_SECONDS,
        "tenure_days": (as_of - start[first]) / DAY_SECONDS,
        "sessions_total": (last - first + 1).astype(np.float64),
        "session_mean_hours": ratio(
            totals.playtime_seconds[last + 1] - totals.playtime_seconds[first],
            (last - first + 1) * HOUR_SECONDS,
        ),
        "gap_mean_hours": ratio(
            start[last] - start[first] - totals.playtime_seconds[last] + totals.playtime_seconds[first],
            (last - first) * HOUR_SECONDS,
        ),
        "hour_sin": _DAY_SIN[minute_of_day(as_of)],
        "hour_cos": _DAY_COS[minute_of_day(as_of)],
        "weekday_sin": _WEEK_SIN[weekday(as_of)],
        "weekday_cos": _WEEK_COS[weekday(as_of)],
    }
    columns.update(_window_columns(batch, totals, rows))
    columns.update(_session_columns(recent))
    columns.update(_gap_columns(recent))
    columns.update(_habit_columns(batch, recent, rows))
    columns.update(_coop_columns(recent))
    return columns


def _window_columns(batch: HistoryBatch, totals: Totals, rows: slice) -> dict[str, NDArray[np.float64]]:
    end = batch.end[rows, None]
    opens = batch.as_of_seconds[rows, None] - DAY_SECONDS * np.array(_WINDOWS_DAYS, dtype=np.int64)
    first = first_after(batch.sessions.start_seconds, batch.begin[rows, None], end, opens)
    count = end - first
    playtime = totals.playtime_seconds[end] - totals.playtime_seconds[first]
    # The window's first session opens a day of its own, whatever was played earlier that day.
    inside = np.minimum(first, end - 1)
    days = np.where(
        count > 0,
        totals.days_opened[end] - totals.days_opened[inside] + 1 - totals.opens_day[inside],
        0,
    )
    columns: dict[str, NDArray[np.float64]] = {}
    for index, window in enumerate(_WINDOWS_DAYS):
        columns[f"sessions_{window}d"] = count[:, index].astype(np.float64)
        columns[f"playtime_{window}d_hours"] = playtime[:, index] / HOUR_SECONDS
        columns[f"active_days_{window}d"] = days[:, index].astype(np.float64)
    week, fortnight = _WINDOWS_DAYS.index(7), _WINDOWS_DAYS.index(14)
    columns["sessions_change_7d"] = (2 * count[:, week] - count[:, fortnight]).astype(np.float64)
    columns["playtime_change_7d_hours"] = (2 * playtime[:, week] - playtime[:, fortnight]) / HOUR_SECONDS
    return columns


def _session_columns(recent: Recent) -> dict[str, NDArray[np.float64]]:
    duration, present = recent.duration_seconds, recent.present
    is_long = ((duration > LONG_SESSION_SECONDS) & present).astype(np.int64)
    return {
        "session_1_hours": duration[:, 0] / HOUR_SECONDS,
        "session_2_hours": _known(duration[:, 1], present[:, 1]),
        "session_3_hours": _known(duration[:, 2], present[:, 2]),
        "session_ewm2_hours": weighted_mean(duration, present, _EWM[2]) / HOUR_SECONDS,
        "session_ewm8_hours": weighted_mean(duration, present, _EWM[8]) / HOUR_SECONDS,
        "session_std8_hours": deviation(duration[:, :_RECENT], present[:, :_RECENT]) / HOUR_SECONDS,
        "session_max8_hours": duration[:, :_RECENT].max(axis=1) / HOUR_SECONDS,
        "long_share_ewm4": weighted_mean(is_long, present, _EWM[4]),
        "long_share_32": ratio(is_long.sum(axis=1), present.sum(axis=1)),
    }


def _gap_columns(recent: Recent) -> dict[str, NDArray[np.float64]]:
    gap, known = recent.gap_seconds, recent.has_gap
    gaps = known.sum(axis=1)

    def share_under(hours: int) -> NDArray[np.float64]:
        return ratio(((gap <= hours * HOUR_SECONDS) & known).sum(axis=1), gaps)

    return {
        "gap_1_hours": _known(gap[:, 0], known[:, 0]),
        "gap_2_hours": _known(gap[:, 1], known[:, 1]),
        "gap_3_hours": _known(gap[:, 2], known[:, 2]),
        "gap_ewm2_hours": weighted_mean(gap, known, _EWM[2]) / HOUR_SECONDS,
        "gap_ewm8_hours": weighted_mean(gap, known, _EWM[8]) / HOUR_SECONDS,
        "gap_std8_hours": deviation(gap[:, :_RECENT], known[:, :_RECENT]) / HOUR_SECONDS,
        "gap_max8_hours": _known(gap[:, :_RECENT].max(axis=1), known[:, 0]),
        "gap_median_32_hours": median(gap, known) / HOUR_SECONDS,
        "gap_under_24h_share_32": share_under(24),
        "gap_under_72h_share_32": share_under(72),
    }


def _habit_columns(batch: HistoryBatch, recent: Recent, rows: slice) -> dict[str, NDArray[np.float64]]:
    as_of = batch.as_of_seconds[rows, None]
    ahead_minutes = (minute_of_day(recent.start_seconds) - minute_of_day(as_of)) % MINUTES_PER_DAY
    sessions = recent.present.sum(axis=1)
    columns = {
        f"start_ahead_{hours}h_share_32": ratio(((ahead_minutes < 60 * hours) & recent.present).sum(axis=1), sessions)
        for hours in (6, 12)
    }
    begin, end = batch.begin[rows, None], batch.end[rows, None]
    start = batch.sessions.start_seconds
    echo = as_of - 7 * DAY_SECONDS * np.arange(1, _ECHO_WEEKS + 1)
    known = start[begin] <= echo
    played = first_after(start, begin, end, echo + DAY_SECONDS - 1) > first_after(start, begin, end, echo - 1)
    columns["week_echo_share_4"] = ratio((played & known).sum(axis=1), known.sum(axis=1))
    return columns


def _coop_columns(recent: Recent) -> dict[str, NDArray[np.float64]]:
    known = recent.coop >= 0
    coop = (recent.coop == 1).astype(np.int64)
    return {
        "coop_last": np.where(known[:, 0], coop[:, 0], np.nan),
        "coop_share_8": ratio(coop[:, :_RECENT].sum(axis=1), known[:, :_RECENT].sum(axis=1)),
        "coop_ewm2": weighted_mean(coop, known, _EWM[2]),
        "coop_ewm8": weighted_mean(coop, known, _EWM[8]),
        "coop_share_32": ratio(coop.sum(axis=1), known.sum(axis=1)),
    }


def _known(seconds: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(known, seconds / HOUR_SECONDS, np.nan)
