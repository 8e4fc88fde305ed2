"""`playfuse fuse`: runs the pipeline and tells what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from fusion import yaml_file
from fusion.errors import FusionError
from fusion.pipeline import fuse
from fusion.progress import stages
from fusion.recipe import Preset, Recipe, preset
from fusion.search.budget import load_budget
from fusion.teachers.folder import load
from fusion.telemetry.dataset import Dataset
from inference.console import console, notes, print_next
from inference.contract.artifact import REPORT_FILE
from inference.inspection import passport_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.pipeline import Told
    from fusion.search.budget import Budget
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from inference.contract.passport import Passport


def run(
    *,
    data: Path,
    teachers: Path,
    out: Path,
    recipe: str,
    seed: int | None,
    budget: str | None,
    study: Path | None,
    with_report: bool,
    with_baselines: bool,
    as_json: bool,
) -> None:
    """Fuse and report; within a budget where one is named.

    Raises:
        PlayfuseError: see `fusion.pipeline.fuse` and `fusion.search.strategy.fuse_within`.
    """
    chosen = read_recipe(recipe)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    started = time.perf_counter()
    with stages() as told:
        dataset = Dataset.load(data)
        known = load(teachers, dataset)
        wanted = {"with_report": with_report, "with_baselines": with_baselines}
        if budget is None:
            passport = fuse(dataset, known, chosen, out, told, **wanted)
        else:
            passport = _search(load_budget(budget), dataset, known, chosen, out, study, told, **wanted)
    if as_json:
        print(passport.model_dump_json(indent=1))
        return
    for table in passport_tables(passport):
        console.print(table)
    said = f"\nFused in {time.perf_counter() - started:.0f} s."
    if with_report:
        said += f" {out / REPORT_FILE} has the figures."
    print_next(said, ("playfuse", "inspect", out), ("playfuse", "serve", out))


def one_folder(argument: Path | None, option: Path | None) -> Path:
    """The folder of the teachers, whichever way it was named.

    Raises:
        FusionError: it was named in neither way or in both.
    """
    found = argument or option
    if found is None or (argument and option):
        raise FusionError(
            "playfuse fuse",
            got="no --teachers" if found is None else f"both {argument} and --teachers {option}",
            expected="one folder of teachers",
            fix="Try: playfuse fuse runs/data --teachers runs/teachers --out runs/artifact",
        )
    return found


def _search(
    budget: Budget,
    dataset: Dataset,
    teachers: Sequence[OnnxTeacher],
    base: Recipe,
    out: Path,
    study: Path | None,
    told: Told,
    **wanted: bool,
) -> Passport:
    # Optuna takes half a second to load.
    from fusion.search.strategy import fuse_within

    file = study or out.with_name(f"{out.name}.search.sqlite")
    try:
        return fuse_within(budget, dataset, teachers, base, out, file, told, **wanted)[0]
    except KeyboardInterrupt:
        notes.print(f"\nstopped; what was tried is in {file}: the same command goes on from there", soft_wrap=True)
        raise


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
