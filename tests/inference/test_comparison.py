from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from inference import comparison
from inference.contract.passport import Energy, Interval, PrivateBehaviour, StageQuality
from tests.support.artifacts import BEHAVIOURS, write_artifact

if TYPE_CHECKING:
    from pathlib import Path

    from inference.contract.artifact import Artifact

STEPS: list[dict[str, Any]] = [
    {"step": "distil", "epochs": 6},
    {"step": "decompose", "trunk": {"rank": 12}},
    {"step": "distil", "epochs": 1},
]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return write_artifact(tmp_path / "a")


def with_passport(artifact: Artifact, **update: Any) -> Artifact:
    return replace(artifact, passport=artifact.passport.model_copy(update=update))


def shown(a: Artifact, b: Artifact, width: int = 80) -> str:
    console = Console(width=width, record=True)
    for table in comparison.tables(a, b):
        console.print(table)
    return console.export_text()


def test_an_artifact_does_not_differ_from_itself(artifact: Artifact) -> None:
    said = comparison.as_json(artifact, artifact)
    assert said["recipe"] == {}
    assert {row["difference"] for row in said["behaviours"].values()} == {0.0}
    assert not any(row["intervals_apart"] for row in said["behaviours"].values())
    assert comparison.notes(artifact, artifact) == ["Their recipes are the same."]
    assert "where it differs" not in shown(artifact, artifact)


def test_quality_cost_and_stages_stand_side_by_side(artifact: Artifact) -> None:
    first, *others = artifact.passport.behaviours
    better = first.model_copy(update={"fused": Interval(value=0.9, low=0.89, high=0.91)})
    stage = StageQuality(stage="quantize", parameters=5_000, mean_change=-0.002, worst_change=-0.006)
    small = artifact.passport.fused_cost.model_copy(update={"parameters": 3_000})
    other = with_passport(
        artifact, behaviours=(better, *others), stages=(*artifact.passport.stages, stage), fused_cost=small
    )
    said = comparison.as_json(artifact, other)
    row = said["behaviours"][first.behaviour]
    assert row["difference"] == pytest.approx(0.101)
    assert row["intervals_apart"]
    assert said["cost"]["parameters"] == {"a": 6_000, "b": 3_000}
    assert said["stages"]["quantize"]["a"] is None
    assert said["stages"]["quantize"]["b"]["parameters"] == 5_000
    text = shown(artifact, other)
    for cell in ("+0.1010", "apart", "overlap", "0.50", "quantize"):
        assert cell in text, cell


def test_behaviours_that_are_kept_private_are_named(artifact: Artifact) -> None:
    name = BEHAVIOURS[1].name
    branch = PrivateBehaviour(behaviour=name, teacher="trees", fused_change=-0.03, reason="it loses 0.03")
    other = with_passport(artifact, private=(branch,))
    said = comparison.as_json(artifact, other)["artifacts"]
    assert (said["a"]["kept_private"], said["b"]["kept_private"]) == ([], [name])
    (line,) = [line for line in shown(artifact, other, 200).splitlines() if "kept private" in line]
    cells = [cell.strip() for cell in line.strip("│ ").split("│")]
    assert cells == ["kept private", "0", f"1, of them only here: {name}"]


def test_recipes_differ_by_step_not_by_place(artifact: Artifact) -> None:
    a = with_passport(artifact, recipe={"name": "x", "steps": STEPS})
    quantize = {"step": "quantize", "bits": 8}
    b = with_passport(
        artifact, recipe={"name": "x", "steps": [STEPS[0], quantize, STEPS[1], {**STEPS[2], "epochs": 2}]}
    )
    assert comparison.recipe_differences(a, b) == {
        "steps": ("distil → decompose → distil", "distil → quantize → decompose → distil"),
        "distil 2.epochs": (1, 2),
        "quantize.bits": (None, 8),
    }
    assert "distil 2.epochs" in shown(a, b)


def test_behaviours_that_only_one_predicts_are_told(artifact: Artifact, tmp_path: Path) -> None:
    fewer = write_artifact(tmp_path / "b", behaviours=BEHAVIOURS[1:])
    said = comparison.as_json(artifact, fewer)
    assert said["behaviours"]["churn_7d"]["b"] is None
    assert said["behaviours"]["churn_7d"]["difference"] is None
    assert "A predicts what B does not: churn_7d." in said["notes"]
    assert "B predicts what A does not: churn_7d." in comparison.notes(fewer, artifact)
    assert "none" in shown(artifact, fewer)


def test_nothing_in_common_can_still_be_compared(tmp_path: Path) -> None:
    a = write_artifact(tmp_path / "a", behaviours=BEHAVIOURS[:1], features=("one",))
    b = write_artifact(tmp_path / "b", behaviours=BEHAVIOURS[1:2], features=("two", "three"))
    bare = with_passport(b, behaviours=(), stages=())
    assert "1, of them only here: one" in shown(a, bare)
    assert "not measured" in shown(a, bare)
    json.dumps(comparison.as_json(a, bare))


def test_what_makes_figures_unlike_is_told(artifact: Artifact) -> None:
    lineage = artifact.passport.lineage.model_copy(update={"data_sha256": "9" * 64})
    rapl = Energy(source="rapl", joules_per_lobby=0.001)
    other = with_passport(artifact, lineage=lineage, machine="another", energy=rapl)
    notes = " ".join(comparison.notes(artifact, other))
    for said in ("different data", "different machines", "different sources"):
        assert said in notes
    (joules,) = [line for line in shown(artifact, other).splitlines() if "joules per lobby" in line]
    assert joules.rstrip("│ ").endswith("0.001")  # and no ratio after it


def test_tables_fit_80_columns_and_cut_no_number(artifact: Artifact) -> None:
    recipe = {"a_rather_long_setting": {"below_another_rather_long_one": "with a long value " * 5}}
    other = with_passport(artifact, recipe=recipe, machine="A machine with a rather long name, x86_64, 64 cores")
    text = shown(artifact, other)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "0.7990" in text
