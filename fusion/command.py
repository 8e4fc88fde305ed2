"""`playfuse fuse`: runs the pipeline and tells what came of it."""

from __future__ import annotations

import time
from pathlib import Path

from fusion import yaml_file
from fusion.pipeline import fuse
from fusion.progress import stages
from fusion.recipe import Preset, Recipe, preset
from fusion.teachers.library import load
from fusion.telemetry.dataset import Dataset
from inference.console import console, print_next
from inference.contract.artifact import REPORT_FILE
from inference.inspection import passport_tables


def run(
    *, data: Path, teachers: Path, out: Path, recipe: str, seed: int | None, with_report: bool, as_json: bool
) -> None:
    """Fuse and report.

    Raises:
        PlayfuseError: see `fusion.pipeline.fuse`.
    """
    chosen = read_recipe(recipe)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    started = time.perf_counter()
    with stages() as told:
        passport = fuse(Dataset.load(data), load(teachers), chosen, out, told, with_report=with_report)
    if as_json:
        print(passport.model_dump_json(indent=1))
        return
    for table in passport_tables(passport):
        console.print(table)
    said = f"\nFused in {time.perf_counter() - started:.0f} s."
    if with_report:
        said += f" {out / REPORT_FILE} has the figures."
    print_next(said, ("playfuse", "inspect", out), ("playfuse", "serve", out))


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
