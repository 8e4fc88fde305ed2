from __future__ import annotations

from pathlib import Path

import pytest

from fusion.errors import FusionError
from fusion.report.command import run
from inference.contract.artifact import PASSPORT_FILE
from inference.contract.errors import ArtifactError
from inference.serve_command import demo_artifact
from tests.support.artifacts import write_artifact


def test_it_writes_the_report_of_an_artifact_that_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(artifact=demo_artifact(), out=tmp_path / "report.html")
    assert "demo" in (tmp_path / "report.html").read_text()
    assert "report.html written" in capsys.readouterr().out


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    with pytest.raises(FusionError, match="got Is a directory, expected a file that can be written"):
        run(artifact=tmp_path / "a", out=tmp_path)


def test_a_damaged_passport_is_not_reported_on(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    (tmp_path / "a" / PASSPORT_FILE).write_text("{}")
    with pytest.raises(ArtifactError, match="damaged"):
        run(artifact=tmp_path / "a", out=tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
