"""Boosted trees: the graph decides exactly as LightGBM, also for unknown values and at the thresholds themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import FusionError
from fusion.teachers.boosted import TRAINER, BoostedSettings, exact_threshold, to_onnx
from fusion.teachers.teacher import Task
from fusion.telemetry.dataset import Dataset, Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUICK = BoostedSettings(trees=12, leaves=7, least_rows_per_leaf=20)


def _run(model: bytes, features: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["links"], {"features": features})[0])


def _task(dataset: Dataset, *names: str) -> Task:
    chosen = tuple(behaviour for behaviour in dataset.behaviours if behaviour.name in names)
    return Task(dataset, chosen, dataset.rows(Split.TRAIN), dataset.rows(Split.VALIDATION))


def _booster(*, unknown: bool, **settings: Any) -> tuple[lightgbm.Booster, NDArray[np.float32]]:
    """Trees over three features, the second with unknown values in training if asked for; and the rows."""
    rng = np.random.default_rng(0)
    features = np.round(rng.normal(size=(2000, 3)), 2).astype(np.float32)
    label = features[:, 0] * 2 + np.sin(3 * features[:, 1]) + (features[:, 2] > 0)
    if unknown:
        features[rng.random(2000) < 0.2, 1] = np.nan
    parameters = {"num_leaves": 15, "verbosity": -1, "num_threads": 1, **settings}
    return lightgbm.train(parameters, lightgbm.Dataset(features, label), num_boost_round=20), features


def _thresholds(booster: lightgbm.Booster) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    waiting = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    while waiting:
        node = waiting.pop()
        if "threshold" in node:
            found.append((node["split_feature"], node["threshold"]))
            waiting += [node["left_child"], node["right_child"]]
    return found


@pytest.mark.parametrize("unknown", [False, True])
def test_rows_at_next_to_and_without_a_threshold_go_the_same_way(unknown: bool) -> None:
    booster, features = _booster(unknown=unknown)
    rows = [np.array([0.3, 0.3, 0.3], dtype=np.float32)]
    for feature, threshold in _thresholds(booster):
        for value in (
            np.float32(threshold),
            np.nextafter(np.float32(threshold), np.float32(-math.inf)),
            np.nextafter(np.float32(threshold), np.float32(math.inf)),
            np.float32(math.nan),
        ):
            row = rows[0].copy()
            row[feature] = value
            rows.append(row)
    rows += [np.full(3, value, dtype=np.float32) for value in (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-38)]
    probe = np.concatenate((np.array(rows), features))
    model, _ = to_onnx([booster], 3)
    np.testing.assert_allclose(_run(model, probe)[:, 0], booster.predict(probe, raw_score=True), atol=1e-5)


ZERO = float(np.float32(1e-35))
"""LightGBM takes values up to this for 0."""


@given(
    threshold=st.floats(-(2.0**99), 2.0**99) | st.floats(-2 * ZERO, 2 * ZERO) | st.sampled_from([-ZERO, ZERO]),
    value=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([-ZERO, ZERO, 0.0]),
)
def test_a_threshold_of_single_precision_decides_as_the_exact_one(threshold: float, value: float) -> None:
    seen = 0.0 if abs(value) <= ZERO else value
    assert (np.float32(value) <= np.float32(exact_threshold(threshold))) == (seen <= threshold)
    if abs(value) > ZERO:
        assert exact_threshold(value) == value


def test_several_ensembles_make_several_columns() -> None:
    first, features = _booster(unknown=True)
    second, _ = _booster(unknown=True, num_leaves=4)
    model, parameters = to_onnx([first, second], 3)
    expected = np.stack([booster.predict(features, raw_score=True) for booster in (first, second)], axis=1)
    np.testing.assert_allclose(_run(model, features), expected, atol=1e-5)
    # A tree of n leaves has n - 1 thresholds.
    leaves = sum(tree["num_leaves"] for booster in (first, second) for tree in booster.dump_model()["tree_info"])
    assert parameters == 2 * leaves - 40


def test_trees_that_never_split_are_constants() -> None:
    booster, features = _booster(unknown=False, min_data_in_leaf=1900)
    assert booster.dump_model()["tree_info"][0]["num_leaves"] == 1
    model, parameters = to_onnx([booster], 3)
    np.testing.assert_allclose(_run(model, features[:4])[:, 0], booster.predict(features[:4]), atol=1e-6)
    assert parameters == len(booster.dump_model()["tree_info"])


def test_trees_of_another_kind_are_refused() -> None:
    rng = np.random.default_rng(0)
    features = rng.integers(0, 5, (500, 1)).astype(np.float32)
    data = lightgbm.Dataset(features, (features[:, 0] == 2).astype(float), categorical_feature=[0])
    booster = lightgbm.train(
        {"verbosity": -1, "min_data_per_group": 1, "max_cat_to_onehot": 1}, data, num_boost_round=1
    )
    with pytest.raises(FusionError, match="LightGBM tree: got a split '=='"):
        to_onnx([booster], 1)


def test_one_teacher_learns_several_behaviours_and_stops_early(dataset: Dataset) -> None:
    told: list[tuple[float, str]] = []
    settings = QUICK.model_copy(update={"trees": 400, "learning_rate": 0.5, "patience_trees": 2})
    task = _task(dataset, "churn_7d", "sessions_7d")
    fitted = TRAINER.fit(task, settings, 0, lambda done, note: told.append((done, note)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == 1.0
    assert sum("tree " in note for _, note in told) < 400
    assert fitted.parameters < 400 * 13
    assert not fitted.uses_sequences
    assert _run(fitted.model, task.features(task.validation, fitted.features)).shape == (len(task.validation), 2)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(dataset: Dataset) -> None:
    task = _task(dataset, "return_24h")
    models = [TRAINER.fit(task, QUICK, seed, lambda done, note: None).model for seed in (1, 1, 2)]
    assert models[0] == models[1] != models[2]


def test_labels_that_are_all_the_same_are_refused(dataset: Dataset) -> None:
    task = _task(dataset, "churn_7d")
    churned = dataset.labels[task.training, 0] == 1
    alike = Task(dataset, task.behaviours, task.training[churned], task.validation)
    with pytest.raises(FusionError, match="labels of churn_7d"):
        TRAINER.fit(alike, QUICK, 0, lambda done, note: None)
