"""The verdict: who is worth all of the training, who is closest, and a true reason why every other one lost."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fusion.recipe import Recipe
from fusion.search.budget import Budget, Measured
from fusion.search.study import Tried
from fusion.search.verdict import closest, explain, shortlist


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


def test_short_training_ranks_those_within_the_costs() -> None:
    assert shortlist([BIG, GOOD, SMALL, BAD, EARLY], Budget(file_bytes=40_000)) == [GOOD, SMALL, BAD]
    assert shortlist([EARLY, BIG], Budget(file_bytes=40_000)) == []


def test_quality_is_what_it_comes_to_when_trained_to_the_end() -> None:
    budget = Budget(mean_change=0.001, worst_change=-0.002)
    assert shortlist([GOOD, SMALL], budget) == [GOOD, SMALL], "short training falls short of it"
    assert GOOD.found is not None
    missed, held = (replace(GOOD, trained=GOOD.found.model_copy(update={"mean_change": m})) for m in (0.0, 0.002))
    assert shortlist([missed, SMALL], budget) == [SMALL]
    assert shortlist([held, SMALL], budget) == [held, SMALL]
    verdict = explain([missed, SMALL], SMALL, budget)
    assert verdict.reasons == {
        1: "does not hold the budget when trained to the end: mean_change 0, the budget allows 0.001"
    }


def test_every_other_one_has_its_reason() -> None:
    verdict = explain([BIG, GOOD, SMALL, BAD, EARLY], GOOD, Budget(file_bytes=40_000))
    assert verdict.winner is GOOD
    assert verdict.front == (BIG, GOOD, SMALL)
    assert verdict.reasons == {
        0: "does not hold the budget: file_bytes 80,000, the budget allows 40,000",
        2: "mean change -0.0020 against +0.0005 of trial 1; it has 50% fewer bytes and 22% fewer CPU microseconds, "
        "which the budget does not ask for",
        3: "mean change -0.0040 against +0.0005 of trial 1, which is no larger and no slower",
        4: "given up early: mean change -0.0500 after finetune",
    }


def test_a_twin_of_the_winner_is_no_larger_and_no_slower() -> None:
    twin = replace(GOOD, number=5)
    said = "mean change +0.0005 against +0.0005 of trial 1, which is no larger and no slower"
    assert explain([GOOD, twin], GOOD, Budget()).reasons == {5: said}


def test_where_none_holds_it_the_closest_one_is_named() -> None:
    assert closest([BIG, GOOD, SMALL], Budget(file_bytes=10_000)) == (SMALL, SMALL.found)
    assert GOOD.found is not None
    trained = replace(GOOD, trained=GOOD.found)
    assert closest([BIG, trained, SMALL], Budget(file_bytes=10_000)) == (trained, trained.trained)
    assert closest([], Budget()) is None
    assert closest([EARLY], Budget()) is None


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_nobody_beats_the_front_and_everybody_else_is_beaten(values: list[tuple[int, int, int]]) -> None:
    tried = [_tried(number, mean / 1000, 1000 * size, 10.0 * cpu) for number, (mean, size, cpu) in enumerate(values)]
    winner = shortlist(tried, Budget())[0]
    verdict = explain(tried, winner, Budget())
    on_front = {one.number for one in verdict.front}
    for number, (mean, size, cpu) in enumerate(values):
        beaten = any(m >= mean and s <= size and c <= cpu and (m, -s, -c) != (mean, -size, -cpu) for m, s, c in values)
        assert (number in on_front) is not beaten
    assert verdict.winner.found is not None
    assert verdict.winner.found.mean_change == max(mean for mean, _, _ in values) / 1000
    assert set(verdict.reasons) == {one.number for one in tried} - {verdict.winner.number}
