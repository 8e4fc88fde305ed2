"""`playfuse fuse`: runs the pipeline and tells what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fusion import yaml_file
from fusion.pipeline import fuse
from fusion.progress import stages
from fusion.recipe import Preset, Recipe, preset
from fusion.teachers.library import load
from fusion.telemetry.dataset import Dataset
from inference.console import console

if TYPE_CHECKING:
    from inference.contract.passport import Passport


def run(*, data: Path, teachers: Path, out: Path, recipe: str, seed: int | None, as_json: bool) -> None:
    """Fuse and report.

    Raises:
        PlayfuseError: see `fusion.pipeline.fuse`.
    """
    chosen = read_recipe(recipe)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    started = time.perf_counter()
    with stages() as told:
        passport = fuse(Dataset.load(data), load(teachers), chosen, out, told)
    if as_json:
        print(passport.model_dump_json(indent=1))
        return
    print_summary(passport)
    console.print(f"\nFused in {time.perf_counter() - started:.0f} s. Next:")
    console.print(f"  playfuse inspect {out}", highlight=False)
    console.print(f"  playfuse serve {out}", highlight=False)


def read_recipe(name_or_path: str) -> Recipe:
    """A preset by name, or a YAML file.

    Raises:
        FusionError: there is no such preset or file, or it is not a recipe.
    """
    if name_or_path in tuple(Preset):
        return preset(Preset(name_or_path))
    return yaml_file.read(
        Path(name_or_path), Recipe, fix=f"Presets are {', '.join(Preset)}; docs/fusion.md shows a whole recipe."
    )


def print_summary(passport: Passport) -> None:
    """The teachers against the fused network: quality, stages, cost."""
    table = Table(title="Quality on test players (95 % intervals, players resampled)", title_justify="left")
    for heading in ("behaviour", "measure", "best teacher", "teacher", "fused", "change", "interval"):
        table.add_column(heading, justify="left" if heading in ("behaviour", "measure", "best teacher") else "right")
    for row in passport.behaviours:
        table.add_row(
            row.behaviour,
            row.measure,
            row.best_teacher,
            f"{row.teacher.value:.4f}",
            f"{row.fused.value:.4f}",
            f"{row.change.value:+.4f}",
            f"{row.change.low:+.4f} … {row.change.high:+.4f}",
        )
    console.print(table)
    table = Table(title="What each stage did (change against the best teachers)", title_justify="left")
    for heading in ("stage", "parameters", "mean", "worst"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in passport.stages:
        table.add_row(stage.stage, f"{stage.parameters:,}", f"{stage.mean_change:+.4f}", f"{stage.worst_change:+.4f}")
    console.print(table)
    before, after = passport.teachers_cost, passport.fused_cost
    table = Table(title="Cost of one 64-player lobby", title_justify="left")
    for heading in ("", "teachers", "fused", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for label, old, new in (
        ("parameters", before.parameters, after.parameters),
        ("bytes of ONNX", before.file_bytes, after.file_bytes),
        ("CPU µs", before.cpu_us_per_lobby, after.cpu_us_per_lobby),
    ):
        table.add_row(label, f"{old:,.0f}", f"{new:,.0f}", f"1/{old / new:.0f}")
    console.print(table)
