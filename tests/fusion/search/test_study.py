"""A search that is interrupted, killed or out of disk: its file stays whole, and it goes on from there."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from fusion.command import read_recipe
from fusion.errors import FusionError
from fusion.material import Material
from fusion.search.budget import Budget
from fusion.search.candidate import Bench
from fusion.search.study import Tried, check_file, search
from fusion.teachers.folder import load
from fusion.telemetry.dataset import Dataset
from inference.engine import load as load_artifact
from tests.support.commands import Command, start
from tests.support.disks import files_no_larger_than

ANYTHING = Budget(mean_change=-1.0, search_minutes=5)
INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT


@pytest.fixture(scope="module")
def bench(made: Path) -> Bench:
    dataset, base = Dataset.load(made / "data"), read_recipe(str(made / "recipe.yaml"))
    material = Material.prepare(dataset, load(made / "teachers"), base, lambda *_: None)
    return Bench.prepare(material, base, lambda *_: None)


def tried_more(bench: Bench, made: Path, file: Path, trials: int) -> list[Tried]:
    return search(bench, read_recipe(str(made / "recipe.yaml")), ANYTHING, file, lambda *_: None, most_trials=trials)


def finished(file: Path) -> dict[int, tuple[str, str]]:
    """Number of every trial carried through → when it ended, and the recipe that it tried."""
    query = """select number, datetime_complete, value_json from trials join trial_user_attributes using (trial_id)
               where state = 'COMPLETE' and key = 'recipe'"""
    if not file.exists():
        return {}
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        tables = database.execute("select count(*) from sqlite_master where name = 'trial_user_attributes'")
        rows = database.execute(query) if tables.fetchone() == (1,) else []
        return {number: (ended, recipe) for number, ended, recipe in rows}


@pytest.mark.process
def test_ctrl_c_and_a_kill_keep_what_was_tried_and_the_same_command_goes_on(made: Path, tmp_path: Path) -> None:
    out, file, budget = tmp_path / "artifact", tmp_path / "deep" / "search.sqlite", tmp_path / "budget.yaml"

    def command(minutes: float) -> Command:
        budget.write_text(f"mean_change: -1.0\nsearch_minutes: {minutes}\n")
        words = ("fuse", made / "data", "--teachers", made / "teachers", "--recipe", made / "recipe.yaml")
        options = ("--auto", "--budget", budget, "--study", file, "--no-report", "--out", out)
        return start(tmp_path / "said", *words, *options)

    running = command(minutes=30)
    assert running.end(signal.SIGINT, once=lambda: len(finished(file)) >= 2) == INTERRUPTED_EXIT_CODE
    assert "Traceback" not in running.said()
    assert "stopped; what was tried is in" in running.said()
    first = finished(file)

    running = command(minutes=30)
    assert running.end(signal.SIGKILL, once=lambda: len(finished(file)) > len(first)) == -signal.SIGKILL
    second = finished(file)
    assert second.items() >= first.items()
    assert not out.exists()

    running = command(minutes=0.001)
    assert running.wait() == 0, running.said()
    assert finished(file).items() >= second.items()
    passport = load_artifact(out)[0].passport
    assert passport.search is not None
    assert passport.search.trials >= len(second)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "artifact", "artifact.network.safetensors", "budget.yaml", "deep", "said",
    ]  # fmt: skip
    states = optuna.load_study(study_name=None, storage=f"sqlite:///{file}").get_trials(deepcopy=False)
    assert not [trial.number for trial in states if trial.state == optuna.trial.TrialState.RUNNING]


def test_what_goes_on_does_not_begin_again_unless_with_other_teachers(
    bench: Bench, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one core, where all that is drawn comes from the seed."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    tried_more(bench, made, tmp_path / "search.sqlite", 2)
    tried = tried_more(bench, made, tmp_path / "search.sqlite", 2)
    assert [one.number for one in tried] == [0, 1, 2, 3]
    assert len({one.recipe.model_dump_json() for one in tried}) == 4
    (teacher,) = bench.material.teachers
    monkeypatch.setattr(teacher, "_card", teacher.card.model_copy(update={"onnx_sha256": "0" * 64}))
    assert len(tried_more(bench, made, tmp_path / "search.sqlite", 1)) == 1


def test_a_recipe_that_cannot_be_followed_is_told_as_given_up(
    bench: Bench, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object) -> None:
        raise FusionError("layer trunk", got="rank 9", expected="at most 6")

    monkeypatch.setattr(Bench, "measure", measure)
    (one,) = tried_more(bench, made, tmp_path / "search.sqlite", 1)
    assert one.found is None
    assert one.reason == "layer trunk: got rank 9, expected at most 6."


def test_a_full_disk_ends_the_search_and_what_was_tried_is_kept(bench: Bench, made: Path, tmp_path: Path) -> None:
    file = tmp_path / "search.sqlite"
    with files_no_larger_than(10_000), pytest.raises(FusionError, match=r"search\.sqlite: got .*Free some space"):
        check_file(file)
    assert list(tmp_path.iterdir()) == []
    tried = tried_more(bench, made, file, 1)
    with files_no_larger_than(file.stat().st_size), pytest.raises(FusionError, match=r"search\.sqlite: got .*disk"):
        tried_more(bench, made, file, 20)
    again = tried_more(bench, made, file, 1)
    assert again[:1] == tried
    assert len(again) >= 2
