"""Targets: who is asked how, and that each teacher is asked about the features that it reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.distill.targets import make_targets
from fusion.errors import FusionError
from fusion.pipeline import fuse
from fusion.recipe import Network, Recipe
from fusion.steps.distil import Distil
from fusion.teachers.importer import import_model
from fusion.teachers.library import cross_fit, links_of, train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from inference.contract.artifact import sha256
from inference.contract.behaviours import from_link
from tests.support.foreign_models import CHURN, TWO, WEIGHTS, card, linear, matrix

if TYPE_CHECKING:
    from pathlib import Path

PLAYTIME: dict[str, object] = {"name": "playtime_7d_hours", "kind": "log1p"}
"""Of the features below, in another order than the dataset's."""
RECENT = ("playtime_28d_hours", "active_days_7d", "sessions_7d")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Two behaviours: of one, there is a teacher of ours and one of the studio's; of the other, only the studio's."""
    whole = build(simulate(150, seed=5))
    names = [behaviour.name for behaviour in whole.behaviours]
    kept = [names.index("churn_7d"), names.index("playtime_7d_hours")]
    return replace(
        whole, behaviours=tuple(whole.behaviours[index] for index in kept), labels=whole.labels[:, kept], censored={}
    )


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    settings = {"trees": 5, "least_rows_per_leaf": 20}
    spec = TeacherSpec.model_validate(
        {"name": "trees", "family": "boosted", "behaviours": ["churn_7d"], "settings": settings}
    )
    weights = linear(matrix((0.01,), (0.1,), (0.05,)), bias=0.2)
    return [
        *train(dataset, [spec], tmp_path_factory.mktemp("teachers")),
        import_model("line", linear(-WEIGHTS).SerializeToString(), card(TWO, CHURN), dataset),
        import_model("hours", weights.SerializeToString(), card(RECENT, PLAYTIME), dataset),
    ]


def test_imported_teachers_are_asked_directly_and_trees_of_ours_out_of_fold(
    dataset: Dataset, teachers: list[OnnxTeacher]
) -> None:
    trees, line, hours = teachers
    targets = make_targets(dataset, teachers, label_share=0.0, told=lambda done, note: None)
    assert targets.imported == tuple(
        name for name in ("line", "hours") if any(name in chosen for chosen in targets.weights.values())
    )
    assert "hours" in targets.imported
    rows = dataset.rows(Split.TRAIN)
    said = {"trees": cross_fit(dataset, trees.card), "line": links_of(line, dataset, rows)}
    churn = sum(weight * said[name][:, 0] for name, weight in targets.weights["churn_7d"].items())
    np.testing.assert_allclose(
        targets.training[:, 0], from_link(np.asarray(churn), dataset.behaviours[0]), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(targets.training[:, 1], links_of(hours, dataset, rows)[:, 0], rtol=1e-5)
    # By hand: the teacher was shown its own columns, in its own order.
    columns = [dataset.feature_names.index(name) for name in RECENT]
    by_hand = dataset.features[rows][:, columns] @ np.array([0.01, 0.1, 0.05]) + 0.2
    np.testing.assert_allclose(targets.training[:, 1], by_hand, rtol=1e-5)


def test_the_passport_says_so(dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path) -> None:
    recipe = Recipe(
        least_training_rows=0,
        network=Network(bins=3, hidden=8, trunk=4, behaviour=2),
        steps=(Distil(epochs=1, batch_rows=512),),
    )
    passport = fuse(dataset, teachers, recipe, tmp_path / "artifact", lambda *_: None, with_report=False)
    (said,) = (decision for decision in passport.decisions if decision.startswith("imported teachers"))
    assert "hours" in said
    assert "asked directly, not out of fold" in said
    assert passport.lineage.teachers_sha256 == {teacher.card.name: sha256(teacher.model) for teacher in teachers}


def test_two_teachers_of_one_behaviour_are_an_ensemble_two_of_one_name_a_fault(
    dataset: Dataset, teachers: list[OnnxTeacher]
) -> None:
    trees, line, hours = teachers
    twin = OnnxTeacher(line.model, line.card.model_copy(update={"name": "twin"}))
    targets = make_targets(dataset, [line, twin, hours], label_share=0.0, told=lambda done, note: None)
    assert sum(targets.weights["churn_7d"].values()) == pytest.approx(1)
    with pytest.raises(FusionError, match="teachers called line: got 2, expected one teacher of one name"):
        make_targets(dataset, [trees, line, hours, line], label_share=0.0, told=lambda done, note: None)


def test_a_behaviour_without_a_teacher_is_named(dataset: Dataset, teachers: list[OnnxTeacher]) -> None:
    with pytest.raises(FusionError, match="teachers of playtime_7d_hours: got none"):
        make_targets(dataset, teachers[:2], label_share=0.3, told=lambda done, note: None)
