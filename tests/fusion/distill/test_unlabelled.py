"""Fusing without players: from statistics that were exported, to an artifact that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from fusion.cli import app
from fusion.distill.statistics import Statistics, draw
from fusion.distill.unlabelled import is_unlabelled, weights_by_card, with_outcomes
from fusion.errors import FusionError
from fusion.material import Material
from fusion.pipeline import fuse
from fusion.recipe import Network, Recipe
from fusion.steps.distil import Distil
from fusion.teachers.library import links_of, train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from inference.contract.behaviours import from_link
from inference.engine import load
from tests.support.disks import files_no_larger_than

RECIPE = Recipe(
    network=Network(bins=5, hidden=32, trunk=16, behaviour=4), steps=(Distil(epochs=8, learning_rate=1e-2),)
)
ROWS = 2000
BEHAVIOURS = ("churn_7d", "return_24h", "playtime_7d_hours")


def playfuse(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False, env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A team's dataset, its teachers, and what it exports."""
    made = tmp_path_factory.mktemp("team")
    whole = build(simulate(180, seed=4))
    kept = [column for column, behaviour in enumerate(whole.behaviours) if behaviour.name in BEHAVIOURS]
    players = replace(
        whole,
        behaviours=tuple(whole.behaviours[column] for column in kept),
        labels=np.ascontiguousarray(whole.labels[:, kept]),
        censored={name: whole.censored[name] for name in BEHAVIOURS},
    )
    players.save(made / "data")
    specs = (
        TeacherSpec(name="linear", family="logistic", settings={"epochs": 2}),
        TeacherSpec(name="trees", family="boosted", settings={"trees": 6, "leaves": 7, "least_rows_per_leaf": 20}),
    )
    train(players, specs, made / "teachers")
    said = playfuse("statistics", made / "data", "--out", made / "statistics.json")
    assert "no rows, no labels" in said.stdout
    said = playfuse("data", "--statistics", made / "statistics.json", "--rows", ROWS, "--out", made / "drawn")
    assert "playfuse fuse" in said.stdout
    return made


@pytest.fixture(scope="module")
def drawn(folder: Path) -> Dataset:
    return Dataset.load(folder / "drawn")


@pytest.fixture(scope="module")
def teachers(folder: Path) -> list[OnnxTeacher]:
    from fusion.teachers.folder import load as load_teachers

    return load_teachers(folder / "teachers")


def test_the_command_draws_what_python_draws(folder: Path, drawn: Dataset) -> None:
    statistics = Statistics.model_validate_json((folder / "statistics.json").read_bytes())
    np.testing.assert_array_equal(drawn.features, draw(statistics, ROWS).features)
    assert is_unlabelled(drawn)
    assert not is_unlabelled(Dataset.load(folder / "data"))


def test_the_network_learns_its_teachers_and_the_passport_says_how(
    folder: Path, drawn: Dataset, teachers: list[OnnxTeacher]
) -> None:
    passport = fuse(drawn, teachers, RECIPE, folder / "artifact", lambda *_: None, with_report=False)
    said = "\n".join(passport.decisions)
    assert "no labels known; the best teachers by their own cards" in said
    assert f"data-free: {ROWS:,} rows drawn from quantiles" in said
    assert "agreement with the teachers" in said
    assert "no row is a player's" in passport.lineage.data_notice
    manifest = load(folder / "artifact")[0].manifest
    assert manifest.synthetic
    assert passport.lineage.data_name == "simulated_statistics"
    # Among players whom it never saw, it goes along with what it was taught.
    players = Dataset.load(folder / "data")
    rows = players.rows(Split.TEST)
    columns = [players.feature_names.index(name) for name in manifest.features]
    answers = load(folder / "artifact")[1].run(np.ascontiguousarray(players.features[rows][:, columns]))
    links = {teacher.card.name: links_of(teacher, players, rows) for teacher in teachers}
    together = []
    for column, behaviour in enumerate(players.behaviours):
        (name,) = weights_by_card(behaviour.name, list(links), teachers)
        wanted = from_link(links[name][:, column], behaviour)
        together.append(float(np.corrcoef(answers[:, column], wanted)[0, 1]))
    assert min(together) > 0.5, together


def test_outcomes_are_those_that_the_teachers_expect(drawn: Dataset, teachers: list[OnnxTeacher]) -> None:
    weights = {behaviour.name: {"linear": 0.25, "trees": 0.75} for behaviour in drawn.behaviours}
    found = with_outcomes(drawn, teachers, weights, seed=0)
    rows = np.arange(len(drawn))
    linear, trees = (links_of(teacher, drawn, rows) for teacher in teachers)
    for column, behaviour in enumerate(drawn.behaviours):
        expected = from_link(0.25 * linear[:, column].astype(np.float64) + 0.75 * trees[:, column], behaviour)
        if behaviour.is_binary:
            assert set(np.unique(found.labels[:, column])) <= {0.0, 1.0}
            assert abs(found.labels[:, column].mean() - expected.mean()) < 4.5 * 0.5 / np.sqrt(ROWS)
        else:
            np.testing.assert_allclose(found.labels[:, column], expected, rtol=1e-5)
    assert not any(found.censored.values())


def test_the_best_by_its_card_is_trusted(teachers: list[OnnxTeacher]) -> None:
    names = [teacher.card.name for teacher in teachers]
    qualities = [teacher.card.validation_quality["churn_7d"] for teacher in teachers]
    assert weights_by_card("churn_7d", names, teachers) == {names[int(np.argmax(qualities))]: 1.0}
    assert weights_by_card("unheard_of", names, teachers) == dict.fromkeys(names, 0.5)


def test_teachers_that_read_sessions_are_refused(
    folder: Path, drawn: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    spec = TeacherSpec(name="gru", family="gru", settings={"epochs": 1, "width": 2, "hidden": [], "training_rows": 200})
    gru = train(Dataset.load(folder / "data"), [spec], tmp_path)
    with pytest.raises(FusionError, match=r"got rows without sessions.*Leave such teachers out"):
        Material.prepare(drawn, [*teachers, *gru], RECIPE, lambda *_: None)


def test_two_sources_are_refused(folder: Path) -> None:
    with pytest.raises(FusionError, match="got both --simulate and --statistics, expected one of them"):
        playfuse("data", "--simulate", "20", "--statistics", folder / "statistics.json")


def test_a_file_that_cannot_be_written_is_named_and_outlives_a_full_disk(folder: Path) -> None:
    with pytest.raises(FusionError, match="data: got Is a directory, expected a file that can be written"):
        playfuse("statistics", folder / "data", "--out", folder / "data")
    before = (folder / "statistics.json").read_bytes()
    with files_no_larger_than(len(before) - 1), pytest.raises(FusionError, match=r"s\.json: got File too large"):
        playfuse("statistics", folder / "data", "--out", folder / "statistics.json")
    assert (folder / "statistics.json").read_bytes() == before
