from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console

from inference import inspection
from tests.support.artifacts import BEHAVIOURS, write_artifact

if TYPE_CHECKING:
    from pathlib import Path


def test_tables_tell_what_is_in_it(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a")
    console = Console(width=240, record=True)
    for table in inspection.tables(artifact):
        console.print(table)
    text = console.export_text()
    for said in (
        "testnet 1",
        "simulated players",
        *(behaviour.name for behaviour in BEHAVIOURS),
        "-0.0010 (-0.0020 … +0.0010)",
        "0.8000",
        "0.7990",
        "1/100.0",
        "joules per lobby (estimate)",
        "distil",
        "a random network, for tests",
    ):
        assert said in text, said


def test_an_artifact_without_measurements_can_still_be_shown(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a")
    bare = artifact.passport.model_copy(update={"behaviours": (), "stages": (), "decisions": ()})
    console = Console(width=240, record=True)
    for table in inspection.tables(type(artifact)(artifact.path, artifact.manifest, artifact.model, bare)):
        console.print(table)
    assert "churn_7d" in console.export_text()


def test_json_holds_manifest_and_passport(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a")
    content = json.loads(json.dumps(inspection.as_json(artifact)))
    assert content["manifest"]["name"] == "testnet"
    assert content["passport"]["fused_cost"]["parameters"] == 6_000
    assert content["model_bytes"] == len(artifact.model)
    assert "probe" not in content["manifest"]


def test_the_report_is_shown_where_there_is_one(tmp_path: Path) -> None:
    for name, report in (("with", b"<title>report</title>"), ("without", None)):
        console = Console(width=240, record=True)
        for table in inspection.tables(write_artifact(tmp_path / name, report=report)):
            console.print(table)
        assert ("report.html" in console.export_text()) == (report is not None)
