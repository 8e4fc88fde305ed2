from __future__ import annotations

from pathlib import Path

import pytest

from fusion.errors import FusionError
from fusion.telemetry.spec import load_any_spec, load_spec
from fusion.telemetry.table_spec import TableSpec
from inference.contract.behaviours import Behaviour, Kind
from tests.support.tables import SPEC


def read(folder: Path, text: str) -> TableSpec:
    (folder / "spec.yaml").write_text(text)
    spec = load_any_spec(folder / "spec.yaml")
    assert isinstance(spec, TableSpec)
    return spec


def test_a_spec_says_what_the_columns_mean(tmp_path: Path) -> None:
    spec = read(tmp_path, SPEC)
    assert spec.needed == ("account", "rating", "ping", "june", "july", "matches")
    assert (spec.synthetic, spec.repeated_players, spec.file) == (False, "refuse", None)
    hours, stays = (label.behaviour() for label in spec.behaviours)
    assert hours == Behaviour(
        name="spent_hours", kind=Kind.REGRESSION, unit="hours", description="hours afterwards", window_seconds=None
    )
    assert (stays.unit, stays.window_seconds) == ("probability", 31 * 86_400)
    assert spec.behaviours[1].columns == ("july",)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("kind: table", "kind: tabel", "expected a valid value (Input should be 'sessions' or 'table')"),
        ("features:", "featuers:", "did you mean 'features'"),
        ("skill:", "sessions_7d:", "sessions_7d: playfuse computes what is called so from sessions"),
        ("skill:", "Skill:", "'Skill'"),
        ("latency_ms: ping", "latency_ms: july", "the features latency_ms read a column that is"),
        ("latency_ms: ping", "latency_ms: account", "the features latency_ms read a column that is"),
        ("name: stays", "name: spent_hours", "behaviours named twice: spent_hours"),
        ("unit: hours, ", "", "an amount needs a unit"),
        ("kind: binary,", "kind: binary, unit: days,", "a binary behaviour has no unit of its own"),
        ("kind: binary,", "kind: count, unit: days,", "kind binary, not count"),
        ("kind: binary,", "kind: flag,", "'binary', 'regression' or 'count'"),
        ("{columns: matches, at_least: 1}", "{columns: matches}", "give at_least or at_most"),
        ("columns: [june, july]", "columns: []", "at least 1 item"),
        ("player: account\n", "", "the key 'player'"),
    ],
)
def test_a_fault_is_told_with_what_was_meant(tmp_path: Path, before: str, after: str, expected: str) -> None:
    assert before in SPEC
    with pytest.raises(FusionError) as caught:
        read(tmp_path, SPEC.replace(before, after))
    assert expected in str(caught.value)


def test_the_spec_of_a_table_is_none_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    with pytest.raises(FusionError, match="got the spec of a table"):
        load_spec(tmp_path / "spec.yaml")


def test_wowah_looks_at_nothing_that_july_does_not_know() -> None:
    spec = load_any_spec("wowah")
    assert isinstance(spec, TableSpec)
    assert set(spec.features.values()) == {"start_level", "Jan", "Feb", "Mar", "Apr", "May", "Jun"}
