"""Budgets: what holds, what does not and by how much; profiles and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusion.errors import FusionError
from fusion.search.budget import Budget, Measured, load_budget, profiles

FOUND = Measured(
    mean_change=-0.001,
    worst_change=-0.004,
    parameters=8_000,
    file_bytes=30_000,
    cpu_us_per_lobby=90.0,
    joules_per_lobby=3e-4,
)


def test_an_empty_budget_is_held_by_everything() -> None:
    assert Budget().excess(FOUND) == {}
    assert Budget().told(FOUND) == ""


def test_what_is_just_held_is_held() -> None:
    bounds = FOUND.model_dump()
    assert Budget(**bounds).excess(FOUND) == {}


@pytest.mark.parametrize(
    ("field", "bound", "share"),
    [
        ("mean_change", 0.0, 0.1),
        ("worst_change", -0.002, 0.2),
        ("parameters", 4_000, 1.0),
        ("file_bytes", 20_000, 0.5),
        ("cpu_us_per_lobby", 60.0, 0.5),
        ("joules_per_lobby", 2e-4, 0.5),
    ],
)
def test_what_is_not_held_is_told(field: str, bound: float, share: float) -> None:
    budget = Budget.model_validate({field: bound})
    assert budget.excess(FOUND) == {field: pytest.approx(share)}
    assert field in budget.told(FOUND)


def test_profiles_are_budgets() -> None:
    assert profiles() == ("console", "mobile", "server")
    assert all(load_budget(name) != Budget() for name in profiles())


def test_a_file_is_read_and_faults_are_told(tmp_path: Path) -> None:
    file = tmp_path / "budget.yaml"
    file.write_text("file_bytes: 9000\nsearch_minutes: 0.5\n")
    assert load_budget(str(file)) == Budget(file_bytes=9_000, search_minutes=0.5)
    file.write_text("file_byte: 9000\n")
    with pytest.raises(FusionError, match="'file_byte'; did you mean 'file_bytes'"):
        load_budget(str(file))
    with pytest.raises(FusionError, match=r"moblie.*did you mean 'mobile'"):
        load_budget("moblie")
