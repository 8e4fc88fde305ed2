"""Hints: whose, which units, and whether the trunk follows them; refused where nobody can give any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion.distill.hints import Hints, hint
from fusion.errors import FusionError
from fusion.material import Material
from fusion.pipeline import fuse
from fusion.recipe import Network, Recipe
from fusion.steps.distil import DISTIL, Distil
from fusion.teachers.hidden import hidden_layer
from fusion.teachers.library import train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from tests.support.works import small_work

SIZES = Network(bins=3, hidden=12, trunk=8, behaviour=3)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    whole = build(simulate(120, seed=8))
    return replace(whole, behaviours=whole.behaviours[:2], labels=np.ascontiguousarray(whole.labels[:, :2]))


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    specs = [
        TeacherSpec(name="linear", family="logistic", settings={"epochs": 1}),
        TeacherSpec(name="narrow", family="mlp", settings={"epochs": 1, "hidden": [6]}),
        TeacherSpec(name="wide", family="mlp", settings={"epochs": 1, "hidden": [5, 9]}),
    ]
    return train(dataset, specs, tmp_path_factory.mktemp("teachers"))


def weights(**of: float) -> dict[str, dict[str, float]]:
    return {"churn_7d": of, "churn_14d": {"linear": 1.0}}


def test_the_network_with_the_most_weight_gives_its_standardised_units(
    dataset: Dataset, teachers: list[OnnxTeacher]
) -> None:
    rows = dataset.rows(Split.TRAIN)
    found, said = hint(teachers, Hints(), weights(narrow=0.2, wide=0.8), dataset, rows)
    raw = hidden_layer(teachers[2], dataset, rows).astype(np.float64)
    alive = raw.std(axis=0) > 1e-6
    np.testing.assert_allclose(found, (raw[:, alive] - raw[:, alive].mean(0)) / raw[:, alive].std(0), atol=1e-4)
    assert said == f"hints: in the first 2 epochs the trunk is led towards {alive.sum()} hidden units of wide"
    assert hint(teachers, Hints(), weights(narrow=0.5, wide=0.1), dataset, rows)[1].endswith(" of narrow")
    assert hint(teachers, Hints(teacher="wide"), weights(narrow=1.0), dataset, rows)[1].endswith(" of wide")


@pytest.mark.parametrize(
    ("known", "hints", "message"),
    [
        (slice(0, 1), Hints(), "hints of distil: got linear: it is linear.*mlp, gru and tcn"),
        (slice(0, 3), Hints(teacher="linear"), "got linear: it is linear"),
        (slice(0, 3), Hints(teacher="nobody"), "got no teacher nobody"),
    ],
)
def test_without_a_network_they_are_refused_before_any_teacher_is_asked(
    dataset: Dataset, teachers: list[OnnxTeacher], known: slice, hints: Hints, message: str
) -> None:
    asked: list[str] = []
    recipe = Recipe(least_training_rows=0, network=SIZES, steps=(Distil(epochs=1, hints=hints),))
    with pytest.raises(FusionError, match=message):
        Material.prepare(dataset, teachers[known], recipe, lambda done, note: asked.append(note))
    assert not asked


def test_units_that_never_change_are_no_hints(dataset: Dataset, teachers: list[OnnxTeacher]) -> None:
    with pytest.raises(FusionError, match="hidden layer of teacher narrow: got the same numbers"):
        hint(teachers, Hints(teacher="narrow"), weights(), dataset, dataset.rows(Split.TRAIN)[:1])


def explained(trunk: NDArray[np.float64], hidden: NDArray[np.float64]) -> float:
    """R² of the best linear regression."""
    inputs = np.column_stack((trunk, np.ones(len(trunk))))
    rest = hidden - inputs @ np.linalg.lstsq(inputs, hidden, rcond=None)[0]
    return float(1.0 - rest.var() / hidden.var())


def test_the_trunk_learns_what_the_hints_tell() -> None:
    """The last two features say nothing about the targets: only the hints make the trunk look at them."""
    reached = {}
    for hints in (None, Hints(epochs=8)):
        torch.manual_seed(0)
        work = small_work()
        known = np.log1p(np.nan_to_num(work.training.features[:, -2:].numpy(), nan=7.0)).astype(np.float64)
        away = np.abs(known - known.mean(axis=0))
        hidden = (away - away.mean(axis=0)) / away.std(axis=0)
        work.training = replace(work.training, hidden=torch.from_numpy(hidden.astype(np.float32)))
        DISTIL.run(Distil(epochs=8, batch_rows=128, learning_rate=1e-2, hints=hints), work, lambda *_: None)
        assert work.training.hidden is None
        trunk = work.network.shared(work.training.features).detach().double().numpy()
        reached[hints is not None] = explained(trunk, hidden)
    assert reached[False] < 0.4 < 0.8 < reached[True], reached


def test_the_passport_says_whose_hints_and_which_weights(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    distil = Distil(epochs=2, batch_rows=256, temperature=2.0, weighting="uncertainty", hints=Hints(epochs=1))
    recipe = Recipe(least_training_rows=0, network=SIZES, steps=(distil,))
    passport = fuse(dataset, teachers, recipe, tmp_path / "artifact", lambda *_: None, with_report=False)
    said = "\n".join(passport.decisions)
    assert "hints: in the first epoch the trunk is led towards" in said
    assert "distil: weights by uncertainty, 1 on average: churn_7d " in said
    assert Recipe.model_validate(passport.recipe) == recipe
