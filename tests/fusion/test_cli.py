"""The commands on a bad day: spelt in two ways, on a full disk, interrupted."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from fusion.cli import app
from fusion.incremental.fused import Fused
from inference.console import USER_FAULT_EXIT_CODE, run
from inference.engine import load
from tests.support.commands import start
from tests.support.disks import fill, small_disk

ENDLESS = """\
network: {bins: 2, hidden: 8, trunk: 6, behaviour: 2}
steps: [{step: distil, epochs: 1000000, patience_epochs: 1000000}]
"""
_BLOCK_BYTES = 4096
INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        run(app, [str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copied(made: Path, to: Path) -> Path:
    shutil.copytree(made, to, dirs_exist_ok=True)
    return to


@pytest.mark.parametrize("words", [["teachers"], ["--teachers", "teachers"]])
def test_teachers_may_be_named_in_two_ways(
    words: list[str], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    options = ("--recipe", "recipe.yaml", "--no-report", "--json", "--out", tmp_path / "artifact")
    assert exit_code("fuse", "data", *words, *options) == 0
    assert load(tmp_path / "artifact")[0].passport.lineage.teachers_sha256.keys() == {"line"}


@pytest.mark.parametrize(
    ("words", "fault"), [([], "no --teachers"), (["a", "--teachers", "b"], "both a and --teachers b")]
)
def test_teachers_have_to_be_named_once(
    words: list[str], fault: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("fuse", made / "data", *words, "--out", tmp_path / "artifact") == USER_FAULT_EXIT_CODE
    assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("data --simulate 9 --spec outriders", "--spec, which changes nothing here, expected it only with a log"),
        ("data --simulate 9 --rows 5", "--rows, which changes nothing here, expected it only with --statistics"),
        ("data log.csv --spec outriders --seed 1", "expected it only with --simulate or --statistics"),
        ("train data --out t --spec spec.yaml --preset demo", "--preset, which .* expected it only without --spec"),
        ("fuse data teachers --out a --budget mobile", "--budget, which .* expected it only with --auto"),
        ("update a --remove churn_7d --as b --version 2 --out c", "--as, which .* expected it only with --add"),
        ("fuse data teachers --out a --study s.sqlite", "--study, which .* expected it only with --auto"),
    ],
)
def test_an_option_that_nothing_would_come_of_is_refused(
    command: str, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*command.split()) == USER_FAULT_EXIT_CODE
    assert re.search(fault, re.sub(r"\s+", " ", capsys.readouterr().err).replace(" expected", ", expected"))


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("data", "data --simulate 121"),
        ("teachers", "train {made}/data --spec {made}/spec.yaml --seed 5"),
        ("artifact", "fuse {made}/data --teachers {made}/teachers --recipe {made}/recipe.yaml --no-report"),
        ("artifact", "update {made}/artifact --remove next_gap_hours --version 2"),
        ("page.html", "report {made}/artifact"),
    ],
    ids=["data", "train", "fuse", "update", "report"],
)
def test_a_full_disk_is_told_and_what_was_there_stays(
    target: str, command: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path, 4096) as disk:
        copied(made, disk)
        (disk / "page.html").write_text("yesterday's")
        fill(disk, leave_bytes=4096)
        before = contents(disk)
        arguments = [word.format(made=made) for word in command.split()]
        assert exit_code(*arguments, "--out", disk / target) == USER_FAULT_EXIT_CODE
        said = capsys.readouterr().err
        assert str(disk / target) in said
        assert "No space left on device" in said
        assert contents(disk) == before
        assert not [path for path in disk.rglob("*") if ".playfuse-" in path.name]


@pytest.mark.parametrize("out", ["artifact", "new"])
def test_artifact_and_network_are_written_together_or_not_at_all(out: str, made: Path, tmp_path: Path) -> None:
    """Two blocks too few for both of them: what is measured has more digits at times."""
    words = ("update", made / "artifact", "--remove", "next_gap_hours", "--version", "2", "--json", "--out")
    assert exit_code(*words, tmp_path / "elsewhere" / "new") == 0
    sizes = [len(content) for content in contents(tmp_path / "elsewhere").values()]
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", 4096) as disk:
        copied(made, disk)
        fill(disk, leave_bytes=_BLOCK_BYTES * (sum(-(-size // _BLOCK_BYTES) for size in sizes) - 2))
        before = contents(disk)
        assert exit_code(*words, disk / out) == USER_FAULT_EXIT_CODE
        assert contents(disk) == before
        Fused.open(disk / "artifact")


@pytest.mark.process
def test_fuse_that_is_interrupted_leaves_nothing_behind(made: Path, tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").write_text(ENDLESS)
    folder = tmp_path / "out"
    folder.mkdir()
    words = ("fuse", made / "data", "--teachers", made / "teachers", "--recipe", tmp_path / "endless.yaml")
    command = start(tmp_path / "said", *words, "--out", folder / "artifact")
    code = command.end(signal.SIGINT, once=lambda: "distil" in command.said())
    assert code == INTERRUPTED_EXIT_CODE
    assert "Traceback" not in command.said()
    assert list(folder.iterdir()) == []


@pytest.mark.process
def test_update_that_is_interrupted_leaves_the_artifact_as_it_was(made: Path, tmp_path: Path) -> None:
    folder = copied(made, tmp_path / "made")
    assert exit_code("data", "--simulate", "2000", "--out", folder / "data", "--json") == 0
    before = contents(folder)
    words = ("update", folder / "artifact", "--add", "churn_7d", "--data", folder / "data", "--teachers")
    options = ("--version", "2", "--out", folder / "artifact")
    command = start(tmp_path / "said", *words, folder / "teachers", *options)
    code = command.end(signal.SIGINT, once=lambda: "train " in command.said())
    assert code == INTERRUPTED_EXIT_CODE
    assert "Traceback" not in command.said()
    assert contents(folder) == before
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in made.iterdir())
