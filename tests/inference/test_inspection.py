from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console

from inference import inspection
from inference.contract.passport import Candidate, PrivateBehaviour
from tests.support.artifacts import BEHAVIOURS, make_passport, write_artifact

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


def test_other_ways_stand_beside_the_fused_network_where_they_were_measured() -> None:
    passport = make_passport()
    rival = Candidate(
        name="separate [networks]",
        mean_change=-0.0123,
        worst_change=-0.0456,
        parameters=5_999,
        file_bytes=77_000,
        cpu_us_per_lobby=321.0,
    )
    *others, last = inspection.passport_tables(passport.model_copy(update={"baselines": (rival,)}))
    assert [table.title for table in others] == [table.title for table in inspection.passport_tables(passport)]
    console = Console(width=100, record=True)
    console.print(last)
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    assert ["fused", "-0.0010", "-0.0010", "6,000", "24,000", "60"] in rows
    assert ["teachers as they are", "+0.0000", "+0.0000", "600,000", "2,400,000", "9,000"] in rows
    assert ["separate [networks]", "-0.0123", "-0.0456", "5,999", "77,000", "321"] in rows


def test_what_is_kept_private_is_told_with_its_reason() -> None:
    record = PrivateBehaviour(behaviour="churn_7d", teacher="trees", fused_change=-0.03, reason="0.03 [behind] trees")
    *_, last = inspection.passport_tables(make_passport().model_copy(update={"private": (record,)}))
    console = Console(width=100, record=True)
    console.print(last)
    text = console.export_text()
    for said in ("kept private", "churn_7d", "trees", "0.03 [behind] trees"):
        assert said in text, said


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
