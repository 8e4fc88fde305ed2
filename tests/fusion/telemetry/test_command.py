from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fusion.cli import app
from fusion.errors import FusionError
from fusion.telemetry.dataset import Dataset
from fusion.telemetry.report import DataReport
from tests.support.tables import write_table

LOG = """\
who,from,to
ann,2024-03-01T12:00:00Z,2024-03-01T14:00:00Z
ann,2024-03-02T12:00:00Z,2024-03-02T12:30:00Z
bob,2024-03-01T12:00:00Z,2024-03-01T12:00:00Z
bob,soon,2024-03-20T12:00:00Z
bob,2024-03-20T11:00:00Z,2024-03-20T12:00:00Z
"""
SPEC = "name: tiny\nnotice: '[by] nobody'\ncolumns: {player: who, start: from, end: to}\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return str(tmp_path / "log.csv"), str(tmp_path / "spec.yaml")


def data(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", *arguments], catch_exceptions=False, env={"COLUMNS": "120"})


def test_json_counts_everything(files: tuple[str, str], tmp_path: Path) -> None:
    log, spec = files
    result = data(log, "--spec", spec, "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0
    report = DataReport.model_validate_json(result.stdout)
    assert json.loads(result.stdout)["name"] == report.name == "tiny"
    assert (report.rows_read, report.sessions, report.players) == (5, 3, 2)
    assert report.dropped["unparsable_start"] == report.dropped["non_positive_duration"] == 1
    assert sum(split.rows for split in report.splits.values()) == 3
    assert report.behaviours["churn_7d"].censored == 1
    assert report.behaviours["next_session_long"].censored == 2
    means = [mean for mean in report.behaviours["churn_7d"].mean.values() if mean is not None]
    assert means == [0.5]
    assert len(Dataset.load(tmp_path / "out")) == 3


def test_tables_tell_people_the_same(files: tuple[str, str], tmp_path: Path) -> None:
    log, spec = files
    result = data(log, "--spec", spec, "--out", str(tmp_path / "out"))
    for text in ("tiny", "unparsable start", "- 1", "sessions kept", "churn_7d", "[by] nobody", "playfuse train"):
        assert text in result.stdout


def test_a_table_is_told_as_a_table(tmp_path: Path) -> None:
    file, spec = map(str, write_table(tmp_path, players=60))
    shown = data(file, "--spec", spec, "--out", str(tmp_path / "out")).stdout
    for text in ("rows of the table", "not kept", "players", "spent_hours", "[by] nobody", "playfuse train"):
        assert text in shown
    assert "sessions" not in shown
    report = DataReport.model_validate_json(data(file, "--spec", spec, "--json").stdout)
    assert (report.sessions, report.players, report.rows_read, report.features) == (None, 60, 60, 2)
    assert Dataset.load(tmp_path / "out").feature_names == ("skill", "latency_ms")


def test_simulated_players_are_called_synthetic(tmp_path: Path) -> None:
    result = data("--simulate", "40", "--seed", "3")
    assert result.exit_code == 0
    assert "synthetic: simulated players" in result.stdout
    assert list(tmp_path.iterdir()) == []
    assert json.loads(data("--simulate", "40", "--seed", "3", "--json").stdout)["synthetic"] is True


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "neither a log nor --simulate"),
        (["log.csv", "--simulate", "5"], "both a log and --simulate"),
        (["log.csv"], "gran_turismo_sport"),
        (["log.csv", "--spec", "outriders"], "no such file"),
    ],
)
def test_what_is_missing_is_told(arguments: list[str], expected: str) -> None:
    with pytest.raises(FusionError) as caught:
        data(*arguments)
    assert expected in str(caught.value)


def test_a_seed_is_no_negative_number() -> None:
    result = data("--simulate", "40", "--seed", "-1")
    assert result.exit_code == 2
    assert "--seed" in result.output


def test_help_teaches_by_example() -> None:
    result = data("--help")
    assert "playfuse data --simulate 2000" in result.stdout
