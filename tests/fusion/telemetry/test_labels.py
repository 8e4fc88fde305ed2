from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from fusion.telemetry.labels import behaviours, compute_labels
from fusion.telemetry.log import Cleaning, SessionLog
from inference.contract.behaviours import COOP_BEHAVIOUR, DEFAULT_BEHAVIOURS
from inference.contract.history import CleaningReport
from tests.support.histories import EPOCH_SECONDS, Session, joined, logs

HOUR, DAY = 3_600, 86_400


def log_of(players: list[list[Session]], end_seconds: int | None = None, *, knows_coop: bool = True) -> SessionLog:
    player, sessions = joined(players)
    return SessionLog(
        name="made",
        synthetic=True,
        notice="",
        sha256="0" * 64,
        player_ids=tuple(f"p{index}" for index in range(len(players))),
        player=player,
        sessions=sessions,
        end_seconds=int(sessions.end_seconds.max()) if end_seconds is None else end_seconds,
        knows_coop=knows_coop,
        cleaning=Cleaning(len(player), 0, 0, 0, CleaningReport(read=len(player))),
    )


def labels_of(log: SessionLog) -> list[dict[str, float]]:
    names = [behaviour.name for behaviour in behaviours(log)]
    return [dict(zip(names, row, strict=True)) for row in compute_labels(log).tolist()]


def oracle(log: SessionLog, row: int) -> dict[str, float]:
    """One row's labels in plain Python."""
    table = log.sessions
    as_of = int(table.start_seconds[row] + table.duration_seconds[row])
    later = [
        (int(table.start_seconds[i]), int(table.duration_seconds[i]), int(table.coop[i]))
        for i in range(row + 1, len(table))
        if log.player[i] == log.player[row]
    ]

    def within(seconds: int) -> list[Session]:
        return [session for session in later if session[0] < as_of + seconds]

    def told(seconds: int, value: float) -> float:
        return value if as_of + seconds <= log.end_seconds else math.nan

    week = within(7 * DAY)
    played = sum(min(start + duration, as_of + 7 * DAY) - start for start, duration, _ in week)
    gap = later[0][0] - as_of if later else math.inf
    return {
        "churn_7d": told(7 * DAY, float(not week)),
        "churn_14d": told(14 * DAY, float(not within(14 * DAY))),
        "return_24h": told(DAY, float(bool(within(DAY)))),
        "return_72h": told(3 * DAY, float(bool(within(3 * DAY)))),
        "next_session_long": float(later[0][1] > HOUR) if later else math.nan,
        "next_session_coop": float(later[0][2]) if later and later[0][2] >= 0 else math.nan,
        "playtime_7d_hours": told(7 * DAY, played / HOUR),
        "sessions_7d": told(7 * DAY, float(len(week))),
        "next_gap_hours": told(14 * DAY, min(gap, 14 * DAY) / HOUR),
    }


@settings(max_examples=60)
@given(logs(max_sessions=12))
def test_labels_are_what_plain_python_says(players: list[list[Session]]) -> None:
    log = log_of(players)
    for row, got in enumerate(labels_of(log)):
        expected = oracle(log, row)
        assert list(got) == list(expected)
        for name, value in got.items():
            assert value == pytest.approx(expected[name], rel=1e-6, nan_ok=True), (row, name)


def test_a_window_is_half_open_and_ends_no_later_than_the_log() -> None:
    first: Session = (EPOCH_SECONDS, HOUR, 0)
    as_of = EPOCH_SECONDS + HOUR
    at_the_edge = log_of([[first, (as_of + 7 * DAY, 600, 1)]], as_of + 7 * DAY)
    row = labels_of(at_the_edge)[0]
    assert (row["churn_7d"], row["sessions_7d"], row["next_session_coop"]) == (1.0, 0.0, 1.0)
    assert math.isnan(row["next_gap_hours"])
    within = log_of([[first, (as_of + 7 * DAY - 1, 600, 1)]], as_of + 7 * DAY)
    row = labels_of(within)[0]
    assert (row["churn_7d"], row["sessions_7d"]) == (0.0, 1.0)
    assert row["playtime_7d_hours"] == pytest.approx(1 / HOUR)
    too_short = replace(within, end_seconds=as_of + 7 * DAY - 1)
    assert math.isnan(labels_of(too_short)[0]["churn_7d"])
    assert labels_of(too_short)[0]["return_72h"] == 0.0


def test_who_never_returns_is_a_gap_of_fourteen_days_not_a_missing_one() -> None:
    row = labels_of(log_of([[(EPOCH_SECONDS, 60, -1)]], EPOCH_SECONDS + 20 * DAY))[0]
    assert row["next_gap_hours"] == 336.0
    assert row["churn_14d"] == 1.0
    assert math.isnan(row["next_session_long"])
    assert math.isnan(row["next_session_coop"])


def test_coop_is_a_behaviour_only_where_the_log_knows_it() -> None:
    players = [[(EPOCH_SECONDS, 60, -1), (EPOCH_SECONDS + DAY, 60, -1)]]
    assert behaviours(log_of(players, knows_coop=False)) == tuple(DEFAULT_BEHAVIOURS.values())
    with_coop = behaviours(log_of(players))
    assert with_coop[5] == COOP_BEHAVIOUR
    assert [behaviour.is_binary for behaviour in with_coop] == [True] * 6 + [False] * 3
    assert np.isnan(compute_labels(log_of(players))[:, 5]).all()
