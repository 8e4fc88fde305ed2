"""The verdict: the best that holds the budget, and a true reason why every other one lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fusion.recipe import Recipe
from fusion.search.budget import Budget, Measured
from fusion.search.study import Tried
from fusion.search.verdict import judge


def _tried(number: int, mean: float, size: int, cpu: float) -> Tried:
    found = Measured(
        mean_change=mean,
        worst_change=mean - 0.001,
        parameters=size // 4,
        file_bytes=size,
        cpu_us_per_lobby=cpu,
        joules_per_lobby=cpu * 4e-6,
    )
    return Tried(number, Recipe(), found)


BIG, GOOD, SMALL, BAD = (
    _tried(0, 0.001, 80_000, 110.0),
    _tried(1, 0.0005, 30_000, 90.0),
    _tried(2, -0.002, 15_000, 70.0),
    _tried(3, -0.004, 31_000, 95.0),
)
EARLY = Tried(4, Recipe(), None, "mean change -0.0500 after finetune")


def test_the_best_quality_that_holds_the_budget_wins() -> None:
    verdict = judge([BIG, GOOD, SMALL, BAD, EARLY], Budget(file_bytes=40_000))
    assert verdict is not None
    assert verdict.holds
    assert verdict.winner is GOOD
    assert verdict.front == (BIG, GOOD, SMALL)
    assert verdict.reasons == {
        0: "does not hold the budget: file_bytes 80,000, the budget allows 40,000",
        2: "mean change -0.0020 against +0.0005 of trial 1; it has 50% fewer bytes and 22% fewer CPU microseconds, "
        "which the budget does not ask for",
        3: "mean change -0.0040 against +0.0005 of trial 1, which is no larger and no slower",
        4: "given up early: mean change -0.0500 after finetune",
    }


def test_where_none_holds_it_the_closest_one_is_named() -> None:
    verdict = judge([BIG, GOOD, SMALL], Budget(file_bytes=10_000))
    assert verdict is not None
    assert not verdict.holds
    assert verdict.winner is SMALL


def test_nothing_measured_is_no_verdict() -> None:
    assert judge([], Budget()) is None
    assert judge([EARLY], Budget()) is None


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_nobody_beats_the_front_and_everybody_else_is_beaten(values: list[tuple[int, int, int]]) -> None:
    tried = [_tried(number, mean / 1000, 1000 * size, 10.0 * cpu) for number, (mean, size, cpu) in enumerate(values)]
    verdict = judge(tried, Budget())
    assert verdict is not None
    on_front = {one.number for one in verdict.front}
    for number, (mean, size, cpu) in enumerate(values):
        beaten = any(m >= mean and s <= size and c <= cpu and (m, -s, -c) != (mean, -size, -cpu) for m, s, c in values)
        assert (number in on_front) is not beaten
    assert verdict.winner.found is not None
    assert verdict.winner.found.mean_change == max(mean for mean, _, _ in values) / 1000
    assert set(verdict.reasons) == {one.number for one in tried} - {verdict.winner.number}
