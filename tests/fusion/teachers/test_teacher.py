"""What a trainer is given to learn from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.errors import FusionError
from fusion.teachers.teacher import Task, part_of, silent
from fusion.telemetry.dataset import Dataset, Split


def _task(dataset: Dataset) -> Task:
    chosen = tuple(reversed(dataset.behaviours))
    return Task(dataset, chosen, dataset.rows(Split.TRAIN), dataset.rows(Split.VALIDATION))


def test_targets_follow_the_tasks_order_on_the_scale_that_is_learnt(dataset: Dataset) -> None:
    task, rows = _task(dataset), dataset.rows(Split.TEST)
    targets = task.targets(rows)
    for column, behaviour in enumerate(dataset.behaviours):
        labels = dataset.labels[rows, column]
        expected = labels if behaviour.is_binary else np.log1p(labels)
        np.testing.assert_array_equal(targets[:, len(dataset.behaviours) - 1 - column], expected)
    assert np.isnan(targets).any()


def test_features_that_say_nothing_are_left_out(dataset: Dataset) -> None:
    features = dataset.features.copy()
    training = dataset.rows(Split.TRAIN)
    features[:, 2] = np.nan
    features[training, 5] = 4.0
    # Partly unknown but otherwise different is still something; known on other rows only is not.
    features[training[::2], 7] = np.nan
    kept = _task(replace(dataset, features=features)).usable_features()
    names = dataset.feature_names
    assert not {names[2], names[5]} & set(kept)
    assert names[7] in kept
    # As the log is written, every prediction is made at the end of a session.
    assert "recency_hours" not in kept


def test_features_that_all_say_nothing_are_refused(dataset: Dataset) -> None:
    task = _task(replace(dataset, features=np.full_like(dataset.features, np.nan)))
    with pytest.raises(FusionError, match="got none that differs among"):
        task.usable_features()


@pytest.mark.parametrize(("split", "players"), [(Split.TRAIN, "training"), (Split.VALIDATION, "validation")])
def test_without_rows_there_is_no_task(dataset: Dataset, split: Split, players: str) -> None:
    with pytest.raises(FusionError, match=f"got no {players} players"):
        _task(dataset.subset(np.flatnonzero(dataset.split != split)))


def test_features_come_by_name(dataset: Dataset) -> None:
    names = dataset.feature_names[4], dataset.feature_names[1]
    got = _task(dataset).features(np.array([3, 0]), names)
    np.testing.assert_array_equal(got, dataset.features[[3, 0]][:, [4, 1]])


def test_progress_of_a_part() -> None:
    told: list[tuple[float, str]] = []
    part_of(lambda done, note: told.append((done, note)), 1, 4)(0.5, "half")
    silent(0.5, "half")
    assert told == [(0.375, "half")]
