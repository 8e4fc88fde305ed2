"""`playfuse train`, as it is typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from fusion.cli import app
from fusion.errors import FusionError
from fusion.teachers.folder import load
from fusion.telemetry.dataset import Dataset
from fusion.telemetry.read import read
from fusion.telemetry.spec import load_any_spec
from tests.support.tables import write_table

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
teachers:
  - name: trees
    family: boosted
    behaviours: [churn_7d]
    settings: {trees: 3, least_rows_per_leaf: 20}
  - name: line
    family: logistic
    settings: {epochs: 1}
"""


@pytest.fixture
def data(dataset: Dataset, tmp_path: Path) -> Path:
    dataset.save(tmp_path / "data")
    (tmp_path / "teachers.yaml").write_text(SPEC)
    return tmp_path / "data"


def test_a_table_tells_how_good_they_are_and_what_comes_next(data: Path, tmp_path: Path) -> None:
    arguments = ["train", str(data), "--out", str(tmp_path / "out"), "--spec", str(tmp_path / "teachers.yaml")]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    teachers = load(tmp_path / "out")
    for teacher in teachers:
        for value in teacher.card.validation_quality.values():
            assert f"{value:.4f}" in result.stdout
    assert "(simulated players)" in result.stdout
    assert "2 teachers" in result.stdout
    assert f"playfuse fuse {data} --teachers {tmp_path / 'out'}" in result.stdout


def test_json_is_all_there_is_on_standard_output(data: Path, tmp_path: Path) -> None:
    arguments = ["train", str(data), "--out", str(tmp_path / "out"), "--spec", str(tmp_path / "teachers.yaml")]
    result = CliRunner().invoke(app, [*arguments, "--seed", "5", "--json"], catch_exceptions=False)
    report = json.loads(result.stdout)
    assert report["dataset"]["synthetic"] is True
    assert {teacher["name"]: teacher["seed"] for teacher in report["teachers"]} == {"trees": 5, "line": 5}
    for teacher in report["teachers"]:
        names = {behaviour["name"] for behaviour in teacher["behaviours"]}
        assert set(teacher["test_quality"]) == set(teacher["validation_quality"]) == names
        assert 0.5 < teacher["test_quality"]["churn_7d"] < 1


@pytest.mark.parametrize(
    ("options", "spec", "message"),
    [
        (["--preset", "huge"], SPEC, "--preset: got huge, expected one of full, demo"),
        (["--spec"], SPEC.replace("boosted", "boost"), "teachers.0.family: got 'boost', .* did you mean 'boosted'"),
        (["--spec"], SPEC.replace("settings", "setings"), "unknown key 'setings'"),
        (["--spec"], SPEC.replace("name: line", "name: trees"), "two teachers of one name: trees"),
        (["--spec"], SPEC.replace("churn_7d", "spending"), "behaviours of teacher trees: got spending"),
    ],
)
def test_what_cannot_be_trained_is_told(
    data: Path, tmp_path: Path, options: list[str], spec: str, message: str
) -> None:
    (tmp_path / "teachers.yaml").write_text(spec)
    chosen = [*options, str(tmp_path / "teachers.yaml")] if options == ["--spec"] else options
    arguments = ["train", str(data), "--out", str(tmp_path / "out"), *chosen]
    with pytest.raises(FusionError, match=message):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert not (tmp_path / "out").exists()


def test_a_table_is_told_what_is_left_out_and_sequences_are_refused(tmp_path: Path) -> None:
    file, spec = write_table(tmp_path, players=300)
    read(file, load_any_spec(spec)).save(tmp_path / "data")
    (tmp_path / "teachers.yaml").write_text("teachers: [{name: line, family: logistic}, {name: back, family: gru}]\n")
    arguments = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    with pytest.raises(FusionError, match=r"arena: got rows without sessions.*Leave such teachers out"):
        CliRunner().invoke(app, [*arguments, "--spec", str(tmp_path / "teachers.yaml")], catch_exceptions=False)
    result = CliRunner().invoke(app, [*arguments, "--preset", "demo", "--json"], catch_exceptions=False)
    assert "gru and tcn, which read them, are left out" in result.stderr
    families = {teacher["family"] for teacher in json.loads(result.stdout)["teachers"]}
    assert families == {"boosted", "mlp", "logistic"}


@pytest.mark.process
def test_ctrl_c_leaves_whole_teachers_only(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "teachers.yaml").write_text(SPEC.replace("epochs: 1", "epochs: 100000, patience_epochs: 100000"))
    arguments = ["train", str(data), "--out", str(out), "--spec", str(tmp_path / "teachers.yaml")]
    with subprocess.Popen([sys.executable, "-m", "playfuse", *arguments], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        # Both files, and no more the hidden folder that they are made in: the next run would clear it.
        while not (out.exists() and sorted(path.name for path in out.iterdir()) == ["trees.json", "trees.onnx"]):
            assert process.poll() is None
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        try:
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode != 0
    assert b"Traceback" not in errors
    assert [teacher.card.name for teacher in load(out)] == ["trees"]
    assert sorted(path.name for path in out.iterdir()) == ["trees.json", "trees.onnx"]


@pytest.mark.process
def test_threads_are_told_how_to_wait_before_they_exist() -> None:
    program = """
import os, sys
import fusion.cli
assert not {"torch", "lightgbm"} & set(sys.modules)
assert os.environ["OMP_WAIT_POLICY"] == sys.argv[1]
"""
    for told, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | told
        subprocess.run([sys.executable, "-c", program, expected], env=environment, check=True, timeout=120)
