"""Teachers on disk and at work."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.errors import FusionError
from fusion.evaluate import quality
from fusion.teachers.folder import load
from fusion.teachers.library import best, cross_fit, links_of, qualities, train, whole_players, write
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split
from inference.contract.artifact import sha256
from tests.support.disks import files_no_larger_than

if TYPE_CHECKING:
    from pathlib import Path

SPECS = (
    TeacherSpec(
        name="trees",
        family="boosted",
        behaviours=("churn_7d", "sessions_7d"),
        settings={"trees": 5, "least_rows_per_leaf": 20},
    ),
    TeacherSpec(name="line", family="logistic", behaviours=("churn_7d",), settings={"epochs": 1}),
)


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "new" / "teachers"
    train(dataset, SPECS, folder)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    for path in trained.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_what_was_trained_is_what_is_loaded(trained: Path, dataset: Dataset, tmp_path: Path) -> None:
    again = train(dataset, SPECS, tmp_path)
    loaded = load(trained)
    assert [teacher.card.name for teacher in loaded] == ["line", "trees"]
    assert sorted(path.name for path in trained.iterdir()) == ["line.json", "line.onnx", "trees.json", "trees.onnx"]
    rows = dataset.rows(Split.TEST)
    for teacher in again:
        twin = next(other for other in loaded if other.card.name == teacher.card.name)
        assert twin.card == teacher.card
        np.testing.assert_array_equal(links_of(twin, dataset, rows), links_of(teacher, dataset, rows))


def test_the_card_tells_the_quality_on_the_validation_players(trained: Path, dataset: Dataset) -> None:
    for teacher in load(trained):
        assert teacher.card.validation_quality == qualities(teacher, dataset, dataset.rows(Split.VALIDATION))
        assert set(teacher.card.validation_quality) == set(teacher.card.behaviour_names)
        assert teacher.card.data_sha256 == dataset.sha256


def test_quality_that_is_not_defined_is_left_out(trained: Path, dataset: Dataset) -> None:
    labels = dataset.labels.copy()
    labels[:, 0] = 1.0
    (trees,) = (teacher for teacher in load(trained) if teacher.card.name == "trees")
    assert set(qualities(trees, replace(dataset, labels=labels), dataset.rows(Split.TEST))) == {"sessions_7d"}


def test_progress_is_told_by_teacher(dataset: Dataset, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    train(dataset, SPECS, tmp_path, progress=lambda name, done, note: told.append((name, done)))
    for name in ("trees", "line"):
        steps = [done for teacher, done in told if teacher == name]
        assert steps == sorted(steps)
        assert steps[-1] == 1.0


def test_the_best_teacher_is_that_of_the_validation_players(trained: Path) -> None:
    line, trees = load(trained)
    chosen = best([line, trees])
    assert chosen["sessions_7d"] is trees
    level = OnnxTeacher(line.model, line.card.model_copy(update={"name": "level"}))
    assert best([line, level])["churn_7d"] is line
    worse = line.card.model_copy(update={"validation_quality": {"churn_7d": 0.01}})
    assert best([OnnxTeacher(line.model, worse), trees])["churn_7d"] is trees


def _rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_damaged_teachers_are_refused(folder: Path) -> None:
    model = folder / "trees.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 4
    model.write_bytes(content)
    with pytest.raises(FusionError, match="teacher trees: got a model of SHA-256"):
        load(folder)
    model.unlink()
    with pytest.raises(FusionError, match=r"trees\.onnx: got No such file"):
        load(folder)


def test_a_model_without_a_card_is_refused(folder: Path) -> None:
    (folder / "trees.json").unlink()
    with pytest.raises(FusionError, match=r"trees\.onnx: got no card beside it, expected trees\.json"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "line"}, "got teacher line of family boosted, expected name trees"),
        ({"family": "forest"}, "got teacher trees of family forest"),
        ({"parameters": -1}, r"trees\.json, parameters: got -1, expected a valid value \(Input should be greater"),
        ({"colour": "red"}, "colour: got the unknown key 'colour', expected one of name, family"),
        ({"onnx_sha256": "0" * 64}, "teacher trees: got a model of SHA-256"),
    ],
)
def test_cards_that_are_wrong_are_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    _rewrite(folder / "trees.json", **changes)
    with pytest.raises(FusionError, match=message):
        load(folder)


def test_a_card_that_is_cut_off_is_refused(folder: Path) -> None:
    card = folder / "trees.json"
    card.write_bytes(card.read_bytes()[:40])
    with pytest.raises(FusionError, match=r"trees\.json: got b'.* expected a valid value \(Invalid JSON"):
        load(folder)


def test_no_folder_and_an_empty_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="got no teacher, expected a folder"):
        load(tmp_path)
    with pytest.raises(FusionError, match="got no such folder"):
        load(tmp_path / "nowhere")


def test_a_full_disk_leaves_no_half_teacher_and_the_old_one_unharmed(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    trees = load(folder)[1]
    message = "File too large, expected a writable folder with room"
    with files_no_larger_than(len(trees.model) - 1), pytest.raises(FusionError, match=message):
        write(trees, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_card_that_cannot_be_written_takes_the_model_with_it(trained: Path, tmp_path: Path) -> None:
    trees = load(trained)[1]
    (tmp_path / "trees.json").mkdir()
    with pytest.raises(FusionError, match="expected a writable folder"):
        write(trees, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trees.json"]


def test_a_model_that_cannot_take_its_place_leaves_the_older_card(folder: Path) -> None:
    trees = load(folder)[1]
    before = (folder / "trees.json").read_bytes()
    (folder / "trees.onnx").unlink()
    (folder / "trees.onnx").mkdir()
    with pytest.raises(FusionError, match="expected a writable folder"):
        write(trees, folder)
    assert (folder / "trees.json").read_bytes() == before


def test_a_model_that_cannot_be_written_leaves_no_card(trained: Path, tmp_path: Path) -> None:
    trees = load(trained)[1]
    (tmp_path / "trees.onnx").mkdir()
    with pytest.raises(FusionError, match="expected a writable folder"):
        write(trees, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trees.onnx"]


def test_a_teacher_of_other_data_is_refused(trained: Path, dataset: Dataset) -> None:
    line = load(trained)[0]
    rows = dataset.rows(Split.TEST)
    renamed = (*(f"x{index}" for index in range(2)), *dataset.feature_names[2:])
    with pytest.raises(FusionError, match=r"got unknown features \['tenure_days'\]"):
        links_of(line, replace(dataset, feature_names=renamed), rows)
    churn = dataset.behaviours[0].model_copy(update={"window_seconds": 60})
    with pytest.raises(FusionError, match=r"unknown behaviours \['churn_7d'\]"):
        links_of(line, replace(dataset, behaviours=(churn, *dataset.behaviours[1:])), rows)
    older = OnnxTeacher(line.model, line.card.model_copy(update={"feature_version": 0}))
    with pytest.raises(FusionError, match="feature version 0"):
        links_of(older, dataset, rows)


def test_a_teacher_of_ours_whose_weights_are_no_numbers_is_told_to_be_trained_again(
    trained: Path, dataset: Dataset
) -> None:
    line = load(trained)[0]
    model = onnx.load_model_from_string(line.model)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and values.size > 1:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    content = model.SerializeToString()
    spoilt = OnnxTeacher(content, line.card.model_copy(update={"onnx_sha256": sha256(content)}))
    with pytest.raises(FusionError, match=r"teacher line on dataset .*got NaN or infinity.*train it again"):
        links_of(spoilt, dataset, dataset.rows(Split.TEST))


def test_a_model_of_the_studios_own_is_never_replaced_by_training(
    trained: Path, dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "line.onnx").write_bytes(b"years of work")
    (tmp_path / "line.yaml").write_text("features: [tenure_days]")
    with pytest.raises(FusionError, match=r"line\.yaml: got a card of your own model"):
        train(dataset, SPECS, tmp_path)
    with files_no_larger_than(1), pytest.raises(FusionError, match="File too large"):
        write(load(trained)[0], tmp_path)
    assert (tmp_path / "line.onnx").read_bytes() == b"years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["line.onnx", "line.yaml"]


@pytest.mark.parametrize(("split", "name"), [(Split.TRAIN, "training"), (Split.VALIDATION, "validation")])
def test_a_log_of_too_few_players_is_refused(dataset: Dataset, split: Split, name: str, tmp_path: Path) -> None:
    without = dataset.subset(np.flatnonzero(dataset.split != split).astype(np.int64))
    with pytest.raises(FusionError, match=f"got no {name} players"):
        train(without, SPECS, tmp_path)


@given(player=st.lists(st.integers(0, 9), min_size=1, max_size=60), most=st.integers(1, 70), seed=st.integers(0, 5))
def test_players_stay_whole_when_rows_are_left_out(player: list[int], most: int, seed: int) -> None:
    whose = np.array(player, dtype=np.int64)
    rows = np.arange(len(whose), dtype=np.int64)
    kept = whole_players(rows, whose, most, seed)
    assert set(whose[kept]).isdisjoint(whose[np.setdiff1d(rows, kept)])
    assert len(kept) <= most or len(set(whose[kept])) == 1
    assert len(kept) > 0
    np.testing.assert_array_equal(kept, whole_players(rows, whose, most, seed))


MEMORY = {"trees": 60, "leaves": 63, "learning_rate": 0.3, "least_rows_per_leaf": 1, "feature_share": 1.0}
"""Trees that learn the rows they see by heart."""


def _planted(dataset: Dataset) -> Dataset:
    """Who a player is tells the label, and nothing else does: what is learnt of one player is useless for another."""
    rng = np.random.default_rng(0)
    features = rng.permutation(dataset.player.max() + 1)[dataset.player][:, None].astype(np.float32)
    labels = dataset.labels.copy()
    labels[:, 0] = rng.integers(0, 2, dataset.player.max() + 1)[dataset.player]
    return replace(dataset, feature_names=("who",), features=features, labels=labels)


def test_cross_fitted_answers_know_nothing_of_their_own_player(dataset: Dataset, tmp_path: Path) -> None:
    planted = _planted(dataset)
    settings = MEMORY | {"patience_trees": 1000}
    spec = TeacherSpec.model_validate(
        {"name": "heart", "family": "boosted", "behaviours": ["churn_7d"], "settings": settings}
    )
    (teacher,) = train(planted, [spec], tmp_path)
    rows = planted.rows(Split.TRAIN)
    inside = quality(links_of(teacher, planted, rows)[:, 0], planted.labels[rows, 0], planted.behaviours[0])
    told: list[float] = []
    outside = cross_fit(planted, teacher.card, progress=lambda done, note: told.append(done))
    assert outside.shape == (len(rows), 1)
    assert inside > 0.75
    assert 0.35 < quality(outside[:, 0], planted.labels[rows, 0], planted.behaviours[0]) < 0.65
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_labels_of_one_half_never_reach_its_own_answers(dataset: Dataset, trained: Path) -> None:
    card = load(trained)[1].card
    rows = dataset.rows(Split.TRAIN)
    half = dataset.fold[rows] == 0
    labels = dataset.labels.copy()
    labels[rows[half]] = 1 - labels[rows[half]]
    before, after = cross_fit(dataset, card), cross_fit(replace(dataset, labels=labels), card)
    np.testing.assert_array_equal(before[half], after[half])
    assert not np.array_equal(before[~half], after[~half])
