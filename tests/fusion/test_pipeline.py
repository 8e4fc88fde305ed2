"""The whole pipeline on a small simulated world: real teachers, a real artifact, read back by the serving half."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fusion.distill.ensemble import ask
from fusion.distill.targets import make_targets
from fusion.errors import FusionError
from fusion.evaluate import quality
from fusion.pipeline import fuse
from fusion.recipe import Network, Recipe
from fusion.report import page
from fusion.steps.decompose import Cp, Decompose, Tucker
from fusion.steps.distil import Distil, Finetune
from fusion.teachers.library import links_of, train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from inference.contract.artifact import MODEL_FILE, PARITY_TOLERANCE, REPORT_FILE
from inference.contract.errors import ArtifactError
from inference.contract.passport import Passport
from inference.engine import load

RECIPE = Recipe(
    least_training_rows=0,
    network=Network(bins=4, hidden=24, trunk=12, behaviour=4),
    steps=(
        Distil(epochs=3, batch_rows=256, learning_rate=5e-3),
        Decompose(input=Tucker(ranks=(6, 3, 6)), trunk=Cp(rank=6), layers=Tucker(ranks=(None, 3, 6))),
        Finetune(epochs=3, batch_rows=256, learning_rate=5e-3),
    ),
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(250, seed=3))


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    specs = (
        TeacherSpec(name="linear", family="logistic", settings={"epochs": 3}),
        TeacherSpec(name="trees", family="boosted", settings={"trees": 8, "leaves": 7, "least_rows_per_leaf": 20}),
    )
    return train(dataset, specs, tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="module")
def artifact(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Passport, list[tuple[str, float, str]]]:
    out = tmp_path_factory.mktemp("fused") / "artifact"
    heard: list[tuple[str, float, str]] = []
    passport = fuse(dataset, teachers, RECIPE, out, lambda *said: heard.append(said))
    return out, passport, heard


def test_the_serving_half_accepts_the_artifact(artifact: tuple[Path, Passport, object], dataset: Dataset) -> None:
    path, passport, _ = artifact
    served, engine = load(path)
    manifest = served.manifest
    assert served.passport == passport
    assert manifest.synthetic
    assert manifest.behaviours == dataset.behaviours
    assert set(manifest.features) <= set(dataset.feature_names)
    training = dataset.labels[dataset.rows(Split.TRAIN)]
    for column, behaviour in enumerate(dataset.behaviours):
        assert manifest.priors[behaviour.name] == pytest.approx(float(np.nanmean(training[:, column])), rel=1e-5)
    columns = [dataset.feature_names.index(name) for name in manifest.features]
    rows = dataset.rows(Split.TEST)
    predictions = engine.run(np.ascontiguousarray(dataset.features[rows][:, columns]))
    assert predictions.shape == (len(rows), len(dataset.behaviours))


def test_the_passport_tells_what_the_served_graph_does(
    artifact: tuple[Path, Passport, object], dataset: Dataset, teachers: list[OnnxTeacher]
) -> None:
    """Quality is computed anew here, from the artifact's own graph and from the teachers' own files."""
    path, passport, _ = artifact
    served, engine = load(path)
    rows = dataset.rows(Split.TEST)
    columns = [dataset.feature_names.index(name) for name in served.manifest.features]
    predictions = engine.run(np.ascontiguousarray(dataset.features[rows][:, columns]))
    said = {teacher.card.name: links_of(teacher, dataset, rows) for teacher in teachers}
    for column, behaviour in enumerate(dataset.behaviours):
        row = passport.behaviours[column]
        labels = dataset.labels[rows, column]
        links = predictions[:, column] if behaviour.is_binary else np.log1p(predictions[:, column])
        # Amounts are served at 0 where the link is below 0, so their quality may differ a little.
        assert quality(links, labels, behaviour) == pytest.approx(row.fused.value, abs=5e-3)
        best = max(quality(links[:, column], labels, behaviour) for links in said.values())
        assert row.teacher.value == pytest.approx(best, abs=1e-9)
        assert row.change.low <= row.change.value <= row.change.high
        assert row.change.value == pytest.approx(row.fused.value - row.teacher.value, abs=1e-9)
    # Of several teachers of one behaviour, who is listened to is said.
    for behaviour in dataset.behaviours:
        assert re.search(rf"{behaviour.name} from (0\.\d\d|1\.00) (linear|trees)", passport.decisions[0])
    assert passport.parity_error <= PARITY_TOLERANCE
    assert passport.fused_cost.file_bytes == (path / MODEL_FILE).stat().st_size
    assert passport.teachers_cost.parameters == sum(teacher.card.parameters for teacher in teachers)
    assert passport.energy.source in {"rapl", "estimate"}
    assert passport.energy.joules_per_lobby > 0
    assert Recipe.model_validate(passport.recipe) == RECIPE


def test_the_report_is_part_of_the_artifact_unless_it_is_not_wanted(
    artifact: tuple[Path, Passport, object], dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    path, passport, _ = artifact
    manifest = load(path)[0].manifest
    assert manifest.has_report
    assert (path / REPORT_FILE).read_text() == page.render(manifest, passport)
    quick = RECIPE.model_copy(update={"steps": (Distil(epochs=1),)})
    fuse(dataset, teachers, quick, tmp_path / "bare", lambda *_: None, with_report=False)
    assert not load(tmp_path / "bare")[0].manifest.has_report
    assert not (tmp_path / "bare" / REPORT_FILE).exists()


def test_the_passport_tells_where_bytes_and_time_go_and_what_predictions_mean(
    artifact: tuple[Path, Passport, object], dataset: Dataset
) -> None:
    _, passport, _ = artifact
    cost = passport.fused_cost
    assert [layer.layer for layer in passport.layers] == ["encoding", "input", "trunk", "layers", "readout"]
    assert sum(layer.parameters for layer in passport.layers) == cost.parameters
    assert 0.9 * cost.file_bytes < sum(layer.file_bytes for layer in passport.layers) < cost.file_bytes
    labels = dataset.labels[dataset.rows(Split.TEST)]
    for column, (one, behaviour) in enumerate(zip(passport.calibration, dataset.behaviours, strict=True)):
        assert one.behaviour == behaviour.name
        truth = labels[~np.isnan(labels[:, column]), column]
        expected = truth.mean() if behaviour.is_binary else np.log1p(truth).mean()
        for curve in (one.teacher, one.fused):
            assert sum(curve.rows) == len(truth)
            seen = np.array(curve.observed) if behaviour.is_binary else np.log1p(curve.observed)
            # Whatever the bins, they hold all players: their mean is everyone's, within the four digits that are kept.
            assert np.average(seen, weights=curve.rows) == pytest.approx(expected, rel=1e-3)


def test_stages_tell_what_each_step_contributes(artifact: tuple[Path, Passport, list[tuple[str, float, str]]]) -> None:
    _, passport, heard = artifact
    _, dense, decomposed, tuned = passport.stages
    assert [stage.stage for stage in passport.stages] == ["targets", "distil", "decompose", "finetune"]
    assert decomposed.parameters < dense.parameters / 2
    assert tuned.mean_change > decomposed.mean_change
    assert {stage for stage, _, _ in heard} == {"targets", "distil", "decompose", "finetune", "export"}
    assert all(0.0 <= done <= 1.0 for _, done, _ in heard)


def test_the_first_stage_is_what_the_teachers_reach_together(
    artifact: tuple[Path, Passport, object], dataset: Dataset, teachers: list[OnnxTeacher]
) -> None:
    _, passport, _ = artifact
    weights = make_targets(dataset, teachers, label_share=0.0, told=lambda done, note: None).weights
    test = dataset.rows(Split.TEST)
    links = ask(teachers, dataset, test, weights)
    changes = [
        quality(links[:, column].astype(np.float32), dataset.labels[test, column], behaviour) - row.teacher.value
        for column, (behaviour, row) in enumerate(zip(dataset.behaviours, passport.behaviours, strict=True))
    ]
    assert passport.stages[0].mean_change == pytest.approx(np.mean(changes), abs=1e-6)
    assert passport.stages[0].worst_change == pytest.approx(min(changes), abs=1e-6)
    assert passport.stages[0].parameters == passport.teachers_cost.parameters


def test_the_same_seed_gives_the_same_network(
    artifact: tuple[Path, Passport, object], dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    path, passport, _ = artifact
    again = fuse(dataset, teachers, RECIPE, tmp_path / "again", lambda *_: None, with_report=False)
    assert again.behaviours == passport.behaviours
    assert again.stages == passport.stages
    assert load(tmp_path / "again")[0].manifest.probe == load(path)[0].manifest.probe


def test_dense_layers_and_the_plain_metric_are_recipes_too(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    lowrank = Decompose(metric="plain", input=Cp(rank=5), trunk=None, layers=None)
    recipe = RECIPE.model_copy(update={"steps": (RECIPE.steps[0], lowrank)})
    passport = fuse(dataset, teachers, recipe, tmp_path / "artifact", lambda *_: None, with_report=False)
    assert sum("kept dense" in decision for decision in passport.decisions) == 2
    load(tmp_path / "artifact")


def test_a_network_may_start_from_its_teachers_neurons(dataset: Dataset, tmp_path: Path) -> None:
    specs = [TeacherSpec(name="net", family="mlp", settings={"hidden": [16, 8], "epochs": 2})]
    only = train(dataset, specs, tmp_path / "teachers")
    started = RECIPE.network.model_copy(update={"start": "teachers"})
    recipe = RECIPE.model_copy(update={"network": started, "steps": RECIPE.steps[:1]})
    passport = fuse(dataset, only, recipe, tmp_path / "artifact", lambda *_: None, with_report=False)
    assert any("16 of 16 neurons of 1 teachers" in decision for decision in passport.decisions)


def test_a_behaviour_without_a_teacher_is_refused_and_nothing_written(dataset: Dataset, tmp_path: Path) -> None:
    only = train(dataset, [TeacherSpec(name="a", family="logistic", behaviours=("churn_7d",))], tmp_path / "teachers")
    with pytest.raises(FusionError, match="teachers of churn_14d"):
        fuse(dataset, only, RECIPE, tmp_path / "artifact", lambda *_: None)
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize("split", Split)
def test_no_players_to_learn_from_or_to_judge_by_is_told_before_any_work(
    split: Split, dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    without = dataset.subset(np.flatnonzero(dataset.split != split).astype(np.int64))
    with pytest.raises(FusionError, match=r"got no (training|validation|test) players, expected at least one"):
        fuse(without, teachers, RECIPE, tmp_path / "artifact", _forbidden)


def _forbidden(*_: object) -> None:
    pytest.fail("work had begun")


def test_ten_players_are_refused_in_words_and_twenty_are_fused(teachers: list[OnnxTeacher], tmp_path: Path) -> None:
    with pytest.raises(FusionError, match=r"dataset simulated: got no test players, .* Give a log of more players"):
        fuse(build(simulate(10, seed=1)), teachers, RECIPE, tmp_path / "artifact", _forbidden)
    fuse(build(simulate(20, seed=1)), teachers, RECIPE, tmp_path / "artifact", lambda *_: None, with_report=False)
    load(tmp_path / "artifact")


def test_ten_rows_to_learn_from_are_enough_to_decompose(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    labels = dataset.labels[:, 0]
    rows = dataset.rows(Split.TRAIN)
    chosen = np.concatenate([rows[labels[rows] == value][:5] for value in (0, 1)])
    few = dataset.subset(np.sort(np.concatenate((chosen, np.flatnonzero(dataset.split != Split.TRAIN)))))
    line = [teacher for teacher in teachers if teacher.card.name == "linear"]
    fuse(few, line, RECIPE, tmp_path / "artifact", lambda *_: None, with_report=False)
    load(tmp_path / "artifact")


def test_players_who_all_did_the_same_cannot_judge(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    alike = replace(dataset, labels=dataset.labels.copy())
    alike.labels[dataset.rows(Split.TEST), 0] = 1
    heard: list[str] = []
    with pytest.raises(FusionError, match="churn_7d: got no two different ones in the rows of the test players"):
        fuse(alike, teachers, RECIPE, tmp_path / "artifact", lambda stage, *_: heard.append(stage))
    assert set(heard) == {"targets"}, "nothing was trained for it"


def test_a_single_behaviour_lowers_the_ranks_and_says_so(dataset: Dataset, tmp_path: Path) -> None:
    one = replace(dataset, behaviours=dataset.behaviours[:1], labels=np.ascontiguousarray(dataset.labels[:, :1]))
    only = train(one, [TeacherSpec(name="a", family="logistic", settings={"epochs": 2})], tmp_path / "teachers")
    passport = fuse(one, only, RECIPE, tmp_path / "artifact", lambda *_: None, with_report=False)
    assert "churn_7d from 1.00 a" in passport.decisions[0]
    assert any("the highest possible" in decision for decision in passport.decisions)
    assert load(tmp_path / "artifact")[1].behaviours == 1


def test_a_folder_that_is_no_artifact_is_left_alone(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("ten years")
    quick = RECIPE.model_copy(update={"steps": (Distil(epochs=1),)})
    with pytest.raises(ArtifactError, match="not an artifact"):
        fuse(dataset, teachers, quick, precious, lambda *_: None)
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]
