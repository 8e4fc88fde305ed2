"""Every recipe that a search may propose is one; the first is the full preset's, and all of the space is reached."""

from __future__ import annotations

import optuna
import pytest

from fusion.recipe import Preset, Recipe, preset
from fusion.search.space import FIRST, STORAGE, propose
from fusion.steps.decompose import Decompose
from fusion.steps.distil import Finetune
from fusion.steps.registry import STEPS
from fusion.steps.step import Family


@pytest.fixture(scope="module")
def proposed() -> list[Recipe]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(FIRST)
    base, found = preset(Preset.FULL), []
    for _ in range(120):
        found.append(propose(study.ask(), base))
    return [Recipe.model_validate(recipe.model_dump()) for recipe in found]


def test_the_first_one_is_the_full_preset(proposed: list[Recipe]) -> None:
    assert proposed[0] == preset(Preset.FULL)


def test_all_families_forms_and_ways_of_storage_and_learning_are_proposed(proposed: list[Recipe]) -> None:
    steps = [spec for recipe in proposed for spec in recipe.steps]
    assert {STEPS[spec.step].family for spec in steps} == set(Family)
    layers = {spec.layers.form for spec in steps if isinstance(spec, Decompose) and spec.layers}
    assert layers == {"tucker", "cp", "basis", "anchored"}
    learnt = {(spec.temperature, spec.weighting) for spec in steps if isinstance(spec, Finetune)}
    assert learnt == {(t, w) for t in (1.0, 2.0) for w in ("equal", "uncertainty")}
    stored = {spec.layers.model_dump_json() for spec in steps if spec.step == "quantize"}
    assert stored == {scheme.model_dump_json() for scheme in STORAGE.values() if scheme is not None}
