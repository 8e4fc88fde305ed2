"""Every feature once more, in slow plain Python, from the description alone: floats, datetimes, no prefix sums."""

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.histories import Session

NAN = math.nan
HOUR = 3_600


def features(sessions: Sequence[Session], as_of: int) -> dict[str, float]:
    """Features of one history; its sessions are in order and do not overlap."""
    starts = [start for start, _, _ in sessions]
    hours = [duration / HOUR for _, duration, _ in sessions]
    ends = [start + duration for start, duration, _ in sessions]
    newest_hours = hours[::-1][:32]
    gaps = [(start - end) / HOUR for start, end in zip(starts[1:], ends, strict=False)]
    newest_gaps = gaps[::-1][:32]
    values = {
        "recency_hours": (as_of - ends[-1]) / HOUR,
        "tenure_days": (as_of - starts[0]) / 86_400,
        "sessions_total": len(sessions),
        "session_mean_hours": statistics.fmean(hours),
        "gap_mean_hours": statistics.fmean(gaps) if gaps else NAN,
        **_windows(sessions, as_of),
        **_durations(newest_hours),
        **_gaps(newest_gaps),
        **_habits(starts, as_of),
        **_clock(as_of),
    }
    return values | _coop([flag for _, _, flag in sessions][::-1][:32])


def _coop(newest: Sequence[int]) -> dict[str, float]:
    """From the flags of the last sessions, newest first; -1 where not known."""

    def share(flags: Sequence[int]) -> float:
        known = [flag for flag in flags if flag >= 0]
        return statistics.fmean(known) if known else NAN

    def decayed(half_life: int) -> float:
        weights = {age: round(2**20 * 0.5 ** (age / half_life)) for age, flag in enumerate(newest) if flag >= 0}
        total = sum(weights.values())
        return sum(newest[age] * weight for age, weight in weights.items()) / total if total else NAN

    return {
        "coop_last": newest[0] if newest[0] >= 0 else NAN,
        "coop_share_8": share(newest[:8]),
        "coop_ewm2": decayed(2),
        "coop_ewm8": decayed(8),
        "coop_share_32": share(newest),
    }


def _windows(sessions: Sequence[Session], as_of: int) -> dict[str, float]:
    values: dict[str, float] = {}
    for days in (1, 3, 7, 14, 28):
        inside = [session for session in sessions if session[0] > as_of - days * 86_400]
        values[f"sessions_{days}d"] = len(inside)
        values[f"playtime_{days}d_hours"] = sum(duration for _, duration, _ in inside) / HOUR
        values[f"active_days_{days}d"] = len({datetime.fromtimestamp(start, UTC).date() for start, _, _ in inside})
    for name, change in (("sessions_{}d", "sessions_change_7d"), ("playtime_{}d_hours", "playtime_change_7d_hours")):
        this_week, fortnight = values[name.format(7)], values[name.format(14)]
        values[change] = this_week - (fortnight - this_week)
    return values


def _decayed(values: Sequence[float], half_life: int) -> float:
    weights = [round(2**20 * 0.5 ** (age / half_life)) for age in range(len(values))]  # fixed-point, by definition
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights) if values else NAN


def _at(values: Sequence[float], index: int) -> float:
    return values[index] if index < len(values) else NAN


def _spread(values: Sequence[float]) -> float:
    return statistics.pstdev(values[:8]) if len(values[:8]) > 1 else NAN


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else NAN


def _durations(newest: Sequence[float]) -> dict[str, float]:
    long = [value > 1.0 for value in newest]
    return {
        **{f"session_{n}_hours": _at(newest, n - 1) for n in (1, 2, 3)},
        **{f"session_ewm{n}_hours": _decayed(newest, n) for n in (2, 8)},
        "session_std8_hours": _spread(newest),
        "session_max8_hours": max(newest[:8]),
        "long_share_ewm4": _decayed([float(flag) for flag in long], 4),
        "long_share_32": _share(long),
    }


def _gaps(newest: Sequence[float]) -> dict[str, float]:
    return {
        **{f"gap_{n}_hours": _at(newest, n - 1) for n in (1, 2, 3)},
        **{f"gap_ewm{n}_hours": _decayed(newest, n) for n in (2, 8)},
        "gap_std8_hours": _spread(newest),
        "gap_max8_hours": max(newest[:8], default=NAN),
        "gap_median_32_hours": statistics.median(newest) if newest else NAN,
        "gap_under_24h_share_32": _share([gap <= 24 for gap in newest]),
        "gap_under_72h_share_32": _share([gap <= 72 for gap in newest]),
    }


def _habits(starts: Sequence[int], as_of: int) -> dict[str, float]:
    now = _minute(as_of)
    ahead = [(_minute(start) - now) % 1_440 for start in starts[-32:]]
    weeks = [as_of - timedelta(weeks=n) / timedelta(seconds=1) for n in (1, 2, 3, 4)]
    known = [week for week in weeks if week >= starts[0]]
    return {
        "start_ahead_6h_share_32": _share([minutes < 360 for minutes in ahead]),
        "start_ahead_12h_share_32": _share([minutes < 720 for minutes in ahead]),
        "week_echo_share_4": _share([any(week <= start < week + 86_400 for start in starts) for week in known]),
    }


def _minute(seconds: int) -> int:
    moment = datetime.fromtimestamp(seconds, UTC)
    return 60 * moment.hour + moment.minute


def _clock(as_of: int) -> dict[str, float]:
    minute, weekday = _minute(as_of), datetime.fromtimestamp(as_of, UTC).weekday()
    values = {}
    for name, turn in (("hour", minute / 1_440), ("weekday", weekday / 7)):
        values[f"{name}_sin"] = math.sin(2 * math.pi * turn)
        values[f"{name}_cos"] = math.cos(2 * math.pi * turn)
    return values


def sequence(sessions: Sequence[Session]) -> list[list[float]]:
    """Channels of the last 32 sessions, oldest first, zeros before the first."""
    rows = []
    for index, (start, duration, coop) in enumerate(sessions):
        gap = start - sum(sessions[index - 1][:2]) if index else 0
        clock = _clock(start)
        rows.append([1.0, duration / HOUR, gap / HOUR, *clock.values(), float(coop == 1)])
    return [[0.0] * 8] * (32 - len(rows[-32:])) + rows[-32:]
