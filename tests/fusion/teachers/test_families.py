"""What every family owes: a graph that imputes by itself, is reproducible, and learns something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.teachers.families import FAMILIES
from fusion.teachers.library import links_of, qualities, train
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import JsonValue

QUICK: dict[str, dict[str, JsonValue]] = {
    "boosted": {"trees": 10, "least_rows_per_leaf": 20},
    "gru": {"epochs": 2, "width": 8, "hidden": [16], "batch_rows": 256},
    "tcn": {"epochs": 6, "width": 8, "hidden": [16], "batch_rows": 256},
    "mlp": {"epochs": 2, "hidden": [16], "batch_rows": 256},
    "logistic": {"epochs": 3, "batch_rows": 256},
}
NAMES = ("churn_7d", "next_session_coop", "playtime_7d_hours")


def spec(family: str) -> TeacherSpec:
    return TeacherSpec(name=family, family=family, behaviours=NAMES, settings=QUICK[family])


def test_every_family_is_tested() -> None:
    assert set(QUICK) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_teacher_learns_and_takes_unknown_features(family: str, dataset: Dataset, tmp_path: Path) -> None:
    (teacher,) = train(dataset, [spec(family)], tmp_path)
    card = teacher.card
    assert (card.name, card.family, card.behaviour_names, card.synthetic) == (family, family, NAMES, True)
    assert card.uses_sequences == (family in {"gru", "tcn"})
    assert card.parameters > 0
    assert card.settings["training_rows"] == 260_000
    test = qualities(teacher, dataset, dataset.rows(Split.TEST))
    assert test["churn_7d"] > 0.6
    assert test["playtime_7d_hours"] > 0.1
    rows = dataset.rows(Split.TEST)[:100]
    unknown = np.full((100, len(card.features)), np.nan, dtype=np.float32)
    assert np.isfinite(teacher.links(unknown, dataset.sequences(rows))).all()
    assert np.isnan(dataset.features[rows]).any()
    assert np.isfinite(links_of(teacher, dataset, rows)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_card_and_bytes(family: str, dataset: Dataset, tmp_path: Path) -> None:
    for run in ("first", "second"):
        train(dataset, [spec(family)], tmp_path / run, seed=3)
    train(dataset, [spec(family)], tmp_path / "other", seed=4)
    for suffix in (".onnx", ".json"):
        first, second, other = (
            (tmp_path / run / f"{family}{suffix}").read_bytes() for run in ("first", "second", "other")
        )
        assert first == second != other
