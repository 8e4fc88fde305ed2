"""Pseudo rows: made of training players' features alone, answered by the teachers, never labelled or judged on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.distill.pseudo import MOST_PER_ROW, SWAPPED_SHARE, filled_up, with_pseudo_rows
from fusion.distill.targets import make_targets
from fusion.material import Material
from fusion.pipeline import fuse
from fusion.recipe import Network, Recipe
from fusion.steps.distil import Distil
from fusion.teachers.library import links_of, train
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from inference.contract.behaviours import from_link
from inference.engine import load

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.teachers.onnx_teacher import OnnxTeacher

RECIPE = Recipe(
    network=Network(bins=3, hidden=8, trunk=4, behaviour=2), steps=(Distil(epochs=1),), least_training_rows=0
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    whole = build(simulate(80, seed=5))
    names = [behaviour.name for behaviour in whole.behaviours]
    kept = [names.index("churn_7d"), names.index("playtime_7d_hours")]
    return replace(
        whole, behaviours=tuple(whole.behaviours[index] for index in kept), labels=whole.labels[:, kept], censored={}
    )


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    """Of trees, which know their training rows by heart, and one that reads sessions."""
    specs = (
        TeacherSpec(name="trees", family="boosted", settings={"trees": 5, "least_rows_per_leaf": 20}),
        TeacherSpec(name="gru", family="gru", settings={"epochs": 1, "hidden": [4]}),
    )
    return train(dataset, specs, tmp_path_factory.mktemp("teachers"))


def test_every_value_is_a_training_players_and_about_a_tenth_is_anothers(dataset: Dataset) -> None:
    count, real = 3000, len(dataset)
    filled = with_pseudo_rows(dataset, count, seed=1)
    np.testing.assert_array_equal(filled.features[:real], dataset.features)
    np.testing.assert_array_equal(filled.labels[:real], dataset.labels)
    made = filled.subset(np.arange(real, real + count))
    assert set(made.split) == {Split.TRAIN}
    assert np.isnan(made.labels).all()
    assert filled.censored["churn_7d"] == int(np.isnan(dataset.labels[:, 0]).sum()) + count
    training = dataset.features[dataset.rows(Split.TRAIN)]
    for column, values in zip(made.features.T, training.T, strict=True):
        known = column[~np.isnan(column)]
        assert np.isin(known, values).all()
    # Each has the sessions of one training row, and differs from it in about a tenth of the features.
    source = _row_of(dataset, made)
    assert (dataset.split[source] == Split.TRAIN).all()
    same = (made.features == dataset.features[source]) | (np.isnan(made.features) & np.isnan(dataset.features[source]))
    assert 0.3 * SWAPPED_SHARE < 1.0 - same.mean() <= 1.1 * SWAPPED_SHARE
    assert len(np.unique(source)) > min(count, len(training)) / 2


def _row_of(dataset: Dataset, made: Dataset) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The row of the dataset that ends with the same session."""
    assert dataset.recorded is not None
    assert made.recorded is not None
    place = {int(end): row for row, end in enumerate(dataset.recorded.end)}
    return np.array([place[int(end)] for end in made.recorded.end], dtype=np.int64)


def test_teachers_answer_them_directly_and_labels_weigh_nothing(dataset: Dataset, teachers: list[OnnxTeacher]) -> None:
    targets = make_targets(dataset, teachers, label_share=0.3, told=lambda done, note: None)
    real = len(targets.training)
    filled, found = filled_up(dataset, targets, teachers, real + 200, seed=2)
    assert found.pseudo_rows == 200
    np.testing.assert_array_equal(found.training[:real], targets.training)
    rows = np.arange(len(dataset), len(filled))
    said = {teacher.card.name: links_of(teacher, filled, rows) for teacher in teachers}
    for column, behaviour in enumerate(dataset.behaviours):
        weights = targets.weights[behaviour.name]
        links = sum(weight * said[name][:, column].astype(np.float64) for name, weight in weights.items())
        np.testing.assert_allclose(found.taught[real:, column], links, rtol=1e-5, atol=1e-6)
        wanted = from_link(np.asarray(links), behaviour) if behaviour.is_binary else links
        np.testing.assert_allclose(found.training[real:, column], wanted, rtol=1e-5, atol=1e-6)
    assert not found.label_weight[real:].any()
    np.testing.assert_array_equal(found.validation, targets.validation)


def test_as_many_as_are_wanting_but_no_more_than_a_few_per_row(dataset: Dataset, teachers: list[OnnxTeacher]) -> None:
    real = len(dataset.rows(Split.TRAIN))
    for least, expected in ((0, 0), (real, 0), (real + 7, 7), (100 * real, MOST_PER_ROW * real)):
        recipe = RECIPE.model_copy(update={"least_training_rows": least})
        material = Material.prepare(dataset, teachers, recipe, lambda done, note: None)
        assert material.targets.pseudo_rows == expected
        assert len(material.dataset.rows(Split.TRAIN)) == real + expected == len(material.targets.training)
        for split in (Split.VALIDATION, Split.TEST):
            np.testing.assert_array_equal(material.dataset.rows(split), dataset.rows(split))


def test_the_passport_says_how_many_and_the_priors_are_of_real_players(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"least_training_rows": 10**6})
    passport = fuse(dataset, teachers, recipe, tmp_path / "artifact", lambda *_: None, with_report=False)
    training = dataset.rows(Split.TRAIN)
    real = len(training)
    manifest = load(tmp_path / "artifact")[0].manifest
    assert manifest.priors["churn_7d"] == pytest.approx(float(np.nanmean(dataset.labels[training, 0])))
    assert any(
        said.startswith(f"{MOST_PER_ROW * real:,} pseudo rows beside {real:,} of") for said in passport.decisions
    )
