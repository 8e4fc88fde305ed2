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

if TYPE_CHECKING:
    from collections.abc import Iterator

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
_MINUTES_PER_DAY: Final = 1_440
_CHUNK_ROWS: Final = 16_384
# The Unix epoch was a Thursday; with this shift day 0 of a week is a Monday.
_EPOCH_WEEKDAY: Final = 3

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
    "gap_under_24h_share_32",
    "gap_under_72h_share_32",
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
    "coop_last",
    "coop_share_8",
)
"""Columns of `compute`. `session_1` is the current session, `gap_1` the pause before it. NaN: not known (no earlier
session, no co-op flag)."""


def _circle(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    angle = 2.0 * np.pi * np.arange(steps) / steps
    return np.sin(angle), np.cos(angle)


# Looked up, not computed per row: sine and cosine may differ in the last bit between scalar and vector code.
_DAY_SIN, _DAY_COS = _circle(_MINUTES_PER_DAY)
_WEEK_SIN, _WEEK_COS = _circle(7)


def _half_life_weights(half_life_sessions: int) -> NDArray[np.int64]:
    """Fixed-point weights of an exponentially weighted mean, newest session first: 2^20 · 2^(-k / half-life)."""
    ages = np.arange(SEQUENCE_LENGTH)
    return np.rint(2.0**20 * 2.0 ** (-ages / half_life_sessions)).astype(np.int64)


_EWM = {half_life: _half_life_weights(half_life) for half_life in (2, 4, 8)}


def compute(batch: HistoryBatch) -> NDArray[np.float32]:
    """Features of every history.

    Args:
        batch: histories, each with at least one session.

    Returns:
        (rows, len(FEATURE_NAMES)) float32; NaN where a feature is not known.
    """
    features = np.empty((len(batch), len(FEATURE_NAMES)), dtype=np.float32)
    totals = _Totals(batch)
    for rows in _chunks(len(batch)):
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
    for rows in _chunks(len(batch)):
        recent = _Recent(batch, rows)
        start = recent.start_seconds
        minute, weekday = _minute_of_day(start), _weekday(start)
        channels = (
            recent.present,
            recent.duration_seconds / HOUR_SECONDS,
            recent.gap_seconds / HOUR_SECONDS,
            _DAY_SIN[minute],
            _DAY_COS[minute],
            _WEEK_SIN[weekday],
            _WEEK_COS[weekday],
            recent.coop == 1,
        )
        for index, values in enumerate(channels):
            sequences[rows, :, index] = np.where(recent.present, values, 0.0)[:, ::-1]
    return sequences


class _Totals:
    """Prefix sums over the session table: the sum over sessions a..b is `prefix[b] - prefix[a]`, exactly."""

    def __init__(self, batch: HistoryBatch) -> None:
        sessions = batch.sessions
        self.playtime_seconds = _prefix_sum(sessions.duration_seconds)
        day = sessions.start_seconds // DAY_SECONDS
        self.opens_day = np.ones(len(sessions), dtype=np.int64)
        self.opens_day[1:] = np.diff(day) != 0
        self.days_opened = _prefix_sum(self.opens_day)


class _Recent:
    """The last T sessions of some rows, newest first: (rows, T) arrays, zero where a history has no such session."""

    def __init__(self, batch: HistoryBatch, rows: slice) -> None:
        sessions = batch.sessions
        begin, end = batch.begin[rows, None], batch.end[rows, None]
        index = end - 1 - np.arange(SEQUENCE_LENGTH)
        self.present = index >= begin
        self.has_gap = index > begin
        safe = np.maximum(index, 0)
        before = np.maximum(index - 1, 0)
        self.start_seconds = sessions.start_seconds[safe]
        self.duration_seconds = np.where(self.present, sessions.duration_seconds[safe], 0)
        previous_end = sessions.start_seconds[before] + sessions.duration_seconds[before]
        self.gap_seconds = np.where(self.has_gap, self.start_seconds - previous_end, 0)
        self.coop = np.where(self.present, sessions.coop[safe], np.int8(-1))


def _columns(batch: HistoryBatch, totals: _Totals, rows: slice) -> dict[str, NDArray[np.float64]]:
    recent = _Recent(batch, rows)
    as_of = batch.as_of_seconds[rows]
    first = batch.begin[rows]
    last = batch.end[rows] - 1
    sessions = batch.sessions
    start, duration = sessions.start_seconds, sessions.duration_seconds
    columns: dict[str, NDArray[np.float64]] = {
        "recency_hours": (as_of - start[last] - duration[last]) / HOUR_SECONDS,
        "tenure_days": (as_of - start[first]) / DAY_SECONDS,
        "sessions_total": (last - first + 1).astype(np.float64),
        "session_mean_hours": _ratio(
            totals.playtime_seconds[last + 1] - totals.playtime_seconds[first],
            (last - first + 1) * HOUR_SECONDS,
        ),
        "gap_mean_hours": _ratio(
            start[last] - start[first] - totals.playtime_seconds[last] + totals.playtime_seconds[first],
            (last - first) * HOUR_SECONDS,
        ),
        "hour_sin": _DAY_SIN[_minute_of_day(as_of)],
        "hour_cos": _DAY_COS[_minute_of_day(as_of)],
        "weekday_sin": _WEEK_SIN[_weekday(as_of)],
        "weekday_cos": _WEEK_COS[_weekday(as_of)],
    }
    columns.update(_window_columns(batch, totals, rows))
    columns.update(_session_columns(recent))
    columns.update(_gap_columns(recent))
    columns.update(_coop_columns(recent))
    return columns


def _window_columns(batch: HistoryBatch, totals: _Totals, rows: slice) -> dict[str, NDArray[np.float64]]:
    end = batch.end[rows, None]
    opens = batch.as_of_seconds[rows, None] - DAY_SECONDS * np.array(_WINDOWS_DAYS, dtype=np.int64)
    first = _first_after(batch.sessions.start_seconds, batch.begin[rows, None], end, opens)
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


def _session_columns(recent: _Recent) -> dict[str, NDArray[np.float64]]:
    duration, present = recent.duration_seconds, recent.present
    is_long = ((duration > LONG_SESSION_SECONDS) & present).astype(np.int64)
    return {
        "session_1_hours": duration[:, 0] / HOUR_SECONDS,
        "session_2_hours": _known(duration[:, 1], present[:, 1]),
        "session_3_hours": _known(duration[:, 2], present[:, 2]),
        "session_ewm2_hours": _weighted_mean(duration, present, _EWM[2]) / HOUR_SECONDS,
        "session_ewm8_hours": _weighted_mean(duration, present, _EWM[8]) / HOUR_SECONDS,
        "session_std8_hours": _deviation_hours(duration, present),
        "session_max8_hours": duration[:, :_RECENT].max(axis=1) / HOUR_SECONDS,
        "long_share_ewm4": _weighted_mean(is_long, present, _EWM[4]),
        "long_share_32": _ratio(is_long.sum(axis=1), present.sum(axis=1)),
    }


def _gap_columns(recent: _Recent) -> dict[str, NDArray[np.float64]]:
    gap, known = recent.gap_seconds, recent.has_gap
    gaps = known.sum(axis=1)

    def share_under(hours: int) -> NDArray[np.float64]:
        return _ratio(((gap <= hours * HOUR_SECONDS) & known).sum(axis=1), gaps)

    return {
        "gap_1_hours": _known(gap[:, 0], known[:, 0]),
        "gap_2_hours": _known(gap[:, 1], known[:, 1]),
        "gap_3_hours": _known(gap[:, 2], known[:, 2]),
        "gap_ewm2_hours": _weighted_mean(gap, known, _EWM[2]) / HOUR_SECONDS,
        "gap_ewm8_hours": _weighted_mean(gap, known, _EWM[8]) / HOUR_SECONDS,
        "gap_std8_hours": _deviation_hours(gap, known),
        "gap_max8_hours": _known(gap[:, :_RECENT].max(axis=1), known[:, 0]),
        "gap_under_24h_share_32": share_under(24),
        "gap_under_72h_share_32": share_under(72),
    }


def _coop_columns(recent: _Recent) -> dict[str, NDArray[np.float64]]:
    flags = recent.coop[:, :_RECENT]
    known = flags >= 0
    return {
        "coop_last": np.where(known[:, 0], flags[:, 0].astype(np.float64), np.nan),
        "coop_share_8": _ratio((flags == 1).sum(axis=1), known.sum(axis=1)),
    }


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, _CHUNK_ROWS):
        yield slice(start, min(start + _CHUNK_ROWS, rows))


def _prefix_sum(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values, dtype=np.int64)))


def _first_after(
    values: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64], bound: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Per row, the first index in [begin, end) whose value is > bound (end if none): a vectorised binary search."""
    low = np.broadcast_to(begin, bound.shape).copy()
    high = np.broadcast_to(end, bound.shape).copy()
    while np.any(low < high):
        middle = (low + high) >> 1
        after = values[np.minimum(middle, len(values) - 1)] > bound
        searching = low < high
        high = np.where(searching & after, middle, high)
        low = np.where(searching & ~after, middle + 1, low)
    return low


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Elementwise quotient of exact integers; NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _known(seconds: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(known, seconds / HOUR_SECONDS, np.nan)


def _weighted_mean(
    values: NDArray[np.int64], known: NDArray[np.bool_], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    return _ratio((values * weights).sum(axis=1), (known * weights).sum(axis=1))


def _deviation_hours(seconds: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standard deviation in hours over the last 8; NaN with fewer than two. Absent values are 0 and add nothing."""
    recent = seconds[:, :_RECENT]
    count = known[:, :_RECENT].sum(axis=1)
    total = recent.sum(axis=1)
    spread = count * (recent * recent).sum(axis=1) - total * total
    return np.where(count > 1, np.sqrt(spread) / (np.maximum(count, 1) * HOUR_SECONDS), np.nan)


def _minute_of_day(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    return (seconds % DAY_SECONDS) // 60


def _weekday(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    return (seconds // DAY_SECONDS + _EPOCH_WEEKDAY) % 7
