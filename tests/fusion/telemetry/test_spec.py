from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fusion.errors import FusionError
from fusion.telemetry.spec import load_any_spec, load_spec, shipped

GOOD = """\
name: my_game
columns: {player: id, start: began, end: ended}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


def test_every_shipped_spec_is_valid_and_names_its_source() -> None:
    tables = {"skillcraft1", "wowah"}
    assert shipped() == ("forza_horizon_4", "gran_turismo_sport", "outriders", *sorted(tables))
    for name in tables:
        table = load_any_spec(name)
        assert table.name == name
        assert "not to be passed on" in table.notice
        assert table.file is not None
    for name in set(shipped()) - tables:
        spec = load_spec(name)
        assert spec.name == name
        assert "CC BY 4.0" in spec.notice
        assert "Vuorre, Johannes, Magnusson, Przybylski 2022" in spec.notice
        assert spec.file is not None
        assert spec.window.start is not None
        assert spec.window.end is not None
    assert load_spec("outriders").columns.coop == "b_coop"


def test_a_short_spec_has_defaults(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, GOOD))
    assert spec.time_formats == ("iso8601",)
    assert (spec.time_zone, spec.duration_unit, spec.synthetic) == ("UTC", "seconds", False)
    assert spec.columns.needed == ("id", "began", "ended")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_time_zones_have_iana_names(tmp_path: Path, zone: str) -> None:
    assert load_spec(write(tmp_path, GOOD + f"time_zone: {zone}\n")).time_zone == zone


def test_unquoted_times_of_the_window_are_utc(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, GOOD + "window: {start: 2024-01-01T00:00:00, end: 2024-02-01T02:00:00+02:00}\n"))
    assert spec.window.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert spec.window.end == datetime(2024, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "time_format: [iso8601]\n", "did you mean 'time_formats'"),
        ("name: x\ncolumns: {player: a, strat: b, end: c}\n", "did you mean 'start'"),
        (GOOD + "window: {stop: 2024-01-01}\n", "one of start, end"),
        (GOOD + "window: {start: 2024-02-01, end: 2024-01-01}\n", "is not before end"),
        ("name: x\ncolumns: {player: a, start: b}\n", "exactly one of `end` and `duration`"),
        ("name: x\ncolumns: {player: a, start: b, end: c, duration: d}\n", "exactly one of `end` and `duration`"),
        ("columns: {player: a, start: b, end: c}\n", "the key 'name'"),
        ("name: My Game\ncolumns: {player: a, start: b, end: c}\n", "My Game"),
        (GOOD + "time_formats: [iso]\n", "neither iso8601"),
        (GOOD + "time_formats: []\n", "at least 1"),
        (GOOD + "time_zone: Europe/Berln\n", "did you mean 'Europe/Berlin'"),
        (GOOD + "duration_unit: days\n", "'milliseconds'"),
        ("- a list\n", "a YAML mapping"),
        ("name: [", "no YAML"),
    ],
)
def test_a_fault_is_told_with_what_was_meant(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(FusionError) as caught:
        load_spec(write(tmp_path, text))
    assert expected in str(caught.value)
    assert str(tmp_path / "spec.yaml") in caught.value.where


@pytest.mark.parametrize(
    ("name", "expected"), [("outrider", "did you mean 'outriders'"), ("missing.yaml", "no such file")]
)
def test_a_missing_spec_names_the_shipped_ones(name: str, expected: str) -> None:
    with pytest.raises(FusionError, match="gran_turismo_sport") as caught:
        load_spec(name)
    assert expected in str(caught.value)


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="no readable file"):
        load_spec(tmp_path)
