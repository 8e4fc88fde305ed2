from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.contract.history import MAX_SESSION_SECONDS, CleaningReport, SessionTable, clean
from tests.support.histories import table

Row = tuple[int, int, int, int]
"""player, start, duration, coop."""


def cleaned(rows: list[Row], start: int | None = None, end: int | None = None) -> tuple[list[Row], CleaningReport]:
    player, sessions, report = clean(
        np.array([row[0] for row in rows], dtype=np.int64),
        table([row[1:] for row in rows]),
        window_start_seconds=start,
        window_end_seconds=end,
    )
    columns = (player, sessions.start_seconds, sessions.duration_seconds, sessions.coop)
    return [(a, b, c, d) for a, b, c, d in zip(*(column.tolist() for column in columns), strict=True)], report


def oracle(rows: list[Row]) -> list[Row]:
    """The rules in plain Python, one session at a time."""
    plausible = sorted({(p, s, d): None for p, s, d, _ in rows if 0 < d <= MAX_SESSION_SECONDS})
    coop = {(p, s, d): max(c for q, t, e, c in rows if (q, t, e) == (p, s, d)) for p, s, d in plausible}
    merged: list[Row] = []
    for player, start, duration in plausible:
        known = coop[player, start, duration]
        if merged and merged[-1][0] == player and start < merged[-1][1] + merged[-1][2]:
            _, first, length, flag = merged.pop()
            merged.append((player, first, max(first + length, start + duration) - first, max(flag, known)))
        else:
            merged.append((player, start, duration, known))
    return merged


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((0, 100, 0, -1), "non_positive_duration"),
        ((0, 100, -5, -1), "non_positive_duration"),
        ((0, 100, MAX_SESSION_SECONDS + 1, -1), "over_10_hours"),
        ((0, 49, 10, -1), "out_of_window"),
        ((0, 995, 6, -1), "out_of_window"),
        ((0, 500, 10, 1), "duplicate"),
        ((0, 505, 10, 0), "merged_overlap"),
    ],
)
def test_every_reason_is_counted_once(row: Row, reason: str) -> None:
    start = None if reason == "over_10_hours" else 50
    end = None if reason == "over_10_hours" else 1_000
    left, report = cleaned([(0, 500, 10, 1), row], start, end)
    assert report.dropped == {name: int(name == reason) for name in report.dropped}
    assert report.read == 2
    assert report.kept == len(left) == 1


def test_limits_of_duration_and_window_are_inside() -> None:
    rows = [(0, 0, MAX_SESSION_SECONDS, 0), (1, 0, 1, 0), (2, MAX_SESSION_SECONDS - 1, 1, 0)]
    left, report = cleaned(rows, 0, MAX_SESSION_SECONDS)
    assert left == rows
    assert report.kept == 3


def test_sessions_that_touch_stay_apart() -> None:
    rows = [(0, 0, 10, 0), (0, 10, 10, 0)]
    assert cleaned(rows)[0] == rows


def test_overlaps_merge_over_a_chain_and_only_within_a_player() -> None:
    rows = [(0, 0, 30_000, 0), (0, 100, 10, -1), (0, 29_999, 36_000, 1), (1, 50, 10, -1)]
    left, report = cleaned(rows)
    assert left == [(0, 0, 65_999, 1), (1, 50, 10, -1)]
    assert report.merged_overlap == 2


def test_an_empty_log_stays_empty() -> None:
    left, report = cleaned([])
    assert left == []
    assert report == CleaningReport()


def test_end_and_take() -> None:
    sessions = table([(5, 10), (20, 1, 1)])
    assert sessions.end_seconds.tolist() == [15, 21]
    assert isinstance(sessions, SessionTable)
    taken = sessions.take(np.array([False, True]))
    assert (taken.start_seconds.tolist(), taken.coop.tolist(), len(taken)) == ([20], [1], 1)


rows_strategy = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(1_700_000_000, 1_700_000_000 + 90_000),
        st.integers(-2, MAX_SESSION_SECONDS + 2) | st.integers(1, 900),
        st.sampled_from([-1, 0, 1]),
    ),
    max_size=40,
)


@given(rows_strategy, st.randoms(use_true_random=False))
def test_cleaning_is_the_plain_rules_in_any_order(rows: list[Row], shuffler: random.Random) -> None:
    expected = oracle(rows)
    left, report = cleaned(rows)
    assert left == expected
    assert report.kept == len(expected)
    assert report.read == len(rows)
    shuffled = rows.copy()
    shuffler.shuffle(shuffled)
    assert cleaned(shuffled) == (left, report)


@given(rows_strategy)
def test_what_is_clean_stays_as_it_is(rows: list[Row]) -> None:
    once, _ = cleaned(rows)
    plausible = [row for row in once if row[2] <= MAX_SESSION_SECONDS]
    again, report = cleaned(plausible)
    assert again == plausible
    assert report.kept == report.read
