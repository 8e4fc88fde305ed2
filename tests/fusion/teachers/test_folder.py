"""Folders of teachers, ours and a studio's own side by side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusion.errors import FusionError
from fusion.teachers.folder import load
from fusion.teachers.importer import import_model
from fusion.teachers.library import links_of, train, write
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split
from tests.support.foreign_models import CHURN, TWO, WEIGHTS, card, linear

if TYPE_CHECKING:
    from pathlib import Path

CARD = """
features: [sessions_7d, tenure_days]
behaviours: [{name: churn_7d, kind: logit}]
missing: 0
"""
LINE = TeacherSpec(name="line", family="logistic", behaviours=("churn_7d",), settings={"epochs": 1})


@pytest.fixture
def folder(dataset: Dataset, tmp_path: Path) -> Path:
    """One teacher of ours and one of the studio's."""
    train(dataset, [LINE], tmp_path)
    (tmp_path / "studio.onnx").write_bytes(linear(WEIGHTS).SerializeToString())
    (tmp_path / "studio.yaml").write_text(CARD)
    return tmp_path


def test_ours_and_theirs_are_loaded_together(folder: Path, dataset: Dataset) -> None:
    line, studio = load(folder, dataset)
    assert (line.card.name, line.card.family) == ("line", "logistic")
    assert (studio.card.name, studio.card.family, studio.card.features) == ("studio", "imported", TWO)
    assert studio.card.settings["missing"] == 0
    rows = dataset.rows(Split.TEST)
    columns = [dataset.feature_names.index(name) for name in TWO]
    expected = dataset.features[rows][:, columns] @ WEIGHTS
    np.testing.assert_allclose(links_of(studio, dataset, rows), expected, rtol=1e-5, atol=1e-6)


def test_an_imported_teacher_can_be_written_and_loaded_like_any_other(dataset: Dataset, tmp_path: Path) -> None:
    teacher = import_model("studio", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN), dataset)
    write(teacher, tmp_path)
    (again,) = load(tmp_path)
    assert again.card == teacher.card
    assert again.model == teacher.model


def test_what_an_own_card_means_cannot_be_told_without_a_dataset(folder: Path) -> None:
    with pytest.raises(FusionError, match=r"studio\.yaml: got no dataset"):
        load(folder)


def test_two_cards_of_one_name_are_refused(folder: Path, dataset: Dataset) -> None:
    (folder / "line.yaml").write_text(CARD)
    with pytest.raises(FusionError, match=r"got two cards of teacher line, expected line\.json, .* or line\.yaml"):
        load(folder, dataset)


def test_a_card_without_a_model_and_a_model_without_a_card_are_refused(folder: Path, dataset: Dataset) -> None:
    (folder / "studio.yaml").unlink()
    with pytest.raises(FusionError, match=r"studio\.onnx: got no card .*, expected studio\.json or studio\.yaml"):
        load(folder, dataset)
    (folder / "studio.onnx").rename(folder / "other.onnx")
    (folder / "other.yaml").write_text(CARD)
    (folder / "studio.yaml").write_text(CARD)
    with pytest.raises(FusionError, match=r"studio\.onnx: got No such file .*, expected the model that studio\.yaml"):
        load(folder, dataset)


def test_a_fault_of_a_card_or_a_model_names_the_file(folder: Path, dataset: Dataset) -> None:
    (folder / "studio.yaml").write_text(CARD.replace("missing", "mising"))
    with pytest.raises(FusionError, match=r"studio\.yaml, mising: .* 'mising'; did you mean 'missing'"):
        load(folder, dataset)
    (folder / "studio.yaml").write_text(CARD)
    (folder / "studio.onnx").write_bytes((folder / "studio.onnx").read_bytes()[:90])
    with pytest.raises(FusionError, match=r"studio\.onnx: got no ONNX, or the beginning of one"):
        load(folder, dataset)
    (folder / "studio.onnx").rename(folder / "My Model.onnx")
    (folder / "studio.yaml").rename(folder / "My Model.yaml")
    with pytest.raises(FusionError, match="got the name My Model, expected lower-case letters"):
        load(folder, dataset)


def test_cards_that_mean_different_things_by_one_behaviour_are_refused(folder: Path, dataset: Dataset) -> None:
    path = folder / "line.json"
    told = json.loads(path.read_text())
    told["behaviours"][0]["window_seconds"] = 1_209_600
    path.write_text(json.dumps(told))
    with pytest.raises(FusionError, match="teachers line and studio: got window_seconds 1209600 and 604800"):
        load(folder, dataset)
