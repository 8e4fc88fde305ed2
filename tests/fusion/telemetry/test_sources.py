from __future__ import annotations

from pathlib import Path

import pytest

from fusion.errors import FusionError
from fusion.telemetry.sources import DATA_VARIABLE, data_folder, find_log


def test_the_variable_says_where_logs_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert data_folder() == tmp_path
    assert find_log("outriders") is None
    log = tmp_path / "gametime" / "telemetry-outriders.csv.gz"
    log.parent.mkdir()
    log.touch()
    assert find_log("outriders") == log


def test_without_it_logs_are_looked_for_beside_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "shared" / "data" / "gametime" / "telemetry-gran-turismo-sport.csv.gz"
    work = tmp_path / "work"
    log.parent.mkdir(parents=True)
    work.mkdir()
    log.touch()
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.chdir(work)
    found = find_log("gran_turismo_sport")
    assert found is not None
    assert found.samefile(log)


def test_a_spec_without_a_known_place_finds_nothing(tmp_path: Path) -> None:
    spec = tmp_path / "own.yaml"
    spec.write_text("name: own\ncolumns: {player: a, start: b, end: c}\n")
    assert find_log(str(spec)) is None
    with pytest.raises(FusionError, match="no such file or shipped spec"):
        find_log("unknown")
