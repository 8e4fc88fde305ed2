"""The list of methods: every family alone, every pair of families, and all of them recipes."""

from __future__ import annotations

from itertools import combinations

from benchmarks.method_list import ALONE, PAIRS, PLAIN, every_method
from fusion.recipe import Recipe
from fusion.steps.registry import STEPS
from fusion.steps.step import Family


def test_every_family_is_alone_and_every_pair_has_candidates() -> None:
    assert set(ALONE) == {family.value for family in Family}
    assert {frozenset(pair) for pair in PAIRS} == {frozenset(pair) for pair in combinations(ALONE, 2)}
    assert all(len(candidates) >= 2 for candidates in PAIRS.values())


def test_all_are_recipes_of_the_families_that_they_are_called_after() -> None:
    names = set()
    for families, name, method in every_method():
        names.add((families, name))
        recipe = Recipe(steps=(method.distil or PLAIN, *method.steps))
        used = {STEPS[spec.step].family.value for spec in recipe.steps}
        assert set(families) <= used
        assert used - {"distillation"} == set(families) - {"distillation"}
    assert len(names) == len(every_method())
