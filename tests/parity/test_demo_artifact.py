"""The artifact in the package is the one that today's code would judge as its passport says."""

from __future__ import annotations

import numpy as np
import pytest

from fusion import demo_artifact
from fusion.evaluate import quality
from fusion.recipe import Recipe
from fusion.telemetry.dataset import Dataset, Split
from inference.contract.artifact import Artifact
from inference.contract.features import FEATURE_VERSION
from inference.engine import Engine, load


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return demo_artifact.dataset()


@pytest.fixture(scope="module")
def loaded() -> tuple[Artifact, Engine]:
    return load(demo_artifact.FOLDER)


def test_it_is_small_and_says_that_its_players_are_simulated(loaded: tuple[Artifact, Engine]) -> None:
    artifact, _ = loaded
    assert sum(file.stat().st_size for file in demo_artifact.FOLDER.iterdir()) < 100_000
    assert artifact.manifest.synthetic
    assert artifact.passport.lineage.data_is_synthetic


def test_it_was_built_by_todays_recipe_teachers_and_features(loaded: tuple[Artifact, Engine], dataset: Dataset) -> None:
    artifact, _ = loaded
    hint = "The recipe, features or behaviours changed: run `make demo-artifact` and commit."
    assert Recipe.model_validate(artifact.passport.recipe) == demo_artifact.recipe(), hint
    teachers = {spec.name for spec in demo_artifact.teachers(dataset)}
    assert set(artifact.passport.lineage.teachers_sha256) == teachers, hint
    assert artifact.manifest.feature_version == FEATURE_VERSION, hint
    assert artifact.manifest.behaviours == dataset.behaviours, hint


def test_todays_simulator_and_features_give_the_quality_in_its_passport(
    loaded: tuple[Artifact, Engine], dataset: Dataset
) -> None:
    """Any change to the simulator, the features, the labels or the split would move these figures."""
    artifact, engine = loaded
    rows = dataset.rows(Split.TEST)
    columns = [dataset.feature_names.index(name) for name in artifact.manifest.features]
    predictions = engine.run(np.ascontiguousarray(dataset.features[rows][:, columns]))
    for column, row in enumerate(artifact.passport.behaviours):
        behaviour = dataset.behaviours[column]
        links = predictions[:, column] if behaviour.is_binary else np.log1p(predictions[:, column])
        reached = quality(links, dataset.labels[rows, column], behaviour)
        # The served amount is cut off at 0, the link is not: hence the allowance.
        allowance = 1e-4 if behaviour.is_binary else 5e-3
        assert reached == pytest.approx(row.fused.value, abs=allowance), "run `make demo-artifact` and commit"
        assert reached > (0.6 if behaviour.is_binary else 0.05), f"{behaviour.name} is hardly better than chance"
