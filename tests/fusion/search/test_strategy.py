"""The whole strategy on a small simulated world: searched, interrupted, gone on with, written; or honestly refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fusion.errors import FusionError
from fusion.recipe import Network, Recipe
from fusion.search.budget import Budget
from fusion.search.strategy import fuse_within
from fusion.steps.decompose import Decompose
from fusion.steps.distil import Distil, Finetune
from fusion.teachers.library import train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, build
from fusion.telemetry.simulate import simulate
from inference.engine import load

BASE = Recipe(
    least_training_rows=0,
    network=Network(bins=3, hidden=16, trunk=8, behaviour=4),
    steps=(
        Distil(epochs=2, batch_rows=256, learning_rate=5e-3),
        Decompose(),
        Finetune(epochs=2, batch_rows=256, learning_rate=5e-3),
    ),
)
ANYTHING = Budget(mean_change=-1.0, search_minutes=5)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(200, seed=3))


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    specs = (TeacherSpec(name="linear", family="logistic", settings={"epochs": 3}),)
    return train(dataset, specs, tmp_path_factory.mktemp("teachers"))


def _silent(stage: str, done: float, note: str) -> None:
    assert 0.0 <= done <= 1.0


def test_the_winner_is_fused_and_every_loser_of_the_front_has_its_reason(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    file = tmp_path / "search.sqlite"
    passport, verdict = fuse_within(
        ANYTHING, dataset, teachers, BASE, tmp_path / "artifact", file, _silent, with_report=False, most_trials=4
    )
    artifact, _ = load(tmp_path / "artifact")
    assert artifact.passport == passport
    assert Recipe.model_validate(passport.recipe) == verdict.winner.recipe
    assert any(f"trial {verdict.winner.number} chosen" in said for said in passport.decisions)
    assert passport.search is not None
    assert passport.search.chosen in {candidate.name for candidate in passport.search.front}
    lost = [said for said in passport.decisions if "of the front lost" in said]
    assert len(lost) == len(verdict.front) - 1
    # The same search goes on from what is there: nothing more is tried, the same one wins.
    again = fuse_within(
        ANYTHING, dataset, teachers, BASE, tmp_path / "again", file, _silent, with_report=False, most_trials=1
    )[1]
    assert len(again.reasons) > len(verdict.reasons)


def test_an_interrupted_search_keeps_what_it_tried(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "search.sqlite"
    seen = 0

    def told(stage: str, done: float, note: str) -> None:
        nonlocal seen
        if stage == "search":
            seen += 1
            if seen == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr("os.cpu_count", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        fuse_within(ANYTHING, dataset, teachers, BASE, tmp_path / "artifact", file, told, most_trials=5)
    assert not (tmp_path / "artifact").exists()
    _, verdict = fuse_within(
        ANYTHING, dataset, teachers, BASE, tmp_path / "artifact", file, _silent, with_report=False, most_trials=1
    )
    assert len(verdict.reasons) + 1 >= 3


def test_a_budget_that_nobody_can_hold_says_what_is_closest(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    budget = Budget(mean_change=-1.0, file_bytes=100, search_minutes=5)
    with pytest.raises(FusionError, match=r"closest is trial \d.*file_bytes [\d,]+, the budget allows 100"):
        fuse_within(
            budget, dataset, teachers, BASE, tmp_path / "artifact", tmp_path / "s.sqlite", _silent, most_trials=2
        )
    assert not (tmp_path / "artifact").exists()


def test_quality_is_judged_after_all_of_the_training_and_what_missed_it_is_not_trained_again(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    budget = Budget(mean_change=-1.0, worst_change=0.9, search_minutes=5)
    trained: list[str] = []

    def told(stage: str, done: float, note: str) -> None:
        if stage == "decompose" and done == 1.0:
            trained.append(note)

    def attempt() -> str:
        with pytest.raises(FusionError) as caught:
            fuse_within(
                budget, dataset, teachers, BASE, tmp_path / "artifact", tmp_path / "s.sqlite", told, most_trials=1
            )
        return str(caught.value)

    said = attempt()
    assert re.search(
        r"closest is trial 0, trained to the end \(mean change .*worst_change .*the budget allows 0.9", said
    )
    assert len(trained) == 1
    attempt()
    assert len(trained) == 2, "the new one; the first is known"
    assert not (tmp_path / "artifact").exists()


def test_a_file_that_is_no_study_is_left_alone(dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path) -> None:
    file = tmp_path / "thesis.txt"
    file.write_text("ten years of work, and certainly no database\n" * 100)
    with pytest.raises(FusionError, match=r"thesis.txt: got .*, expected a SQLite file"):
        fuse_within(ANYTHING, dataset, teachers, BASE, tmp_path / "artifact", file, _silent, most_trials=1)
    assert file.read_text().startswith("ten years")
