"""`playfuse train`: trains a set of teachers and tells how good each one is."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from rich.table import Table

from fusion import yaml_file
from fusion.errors import FusionError
from fusion.evaluate import measure
from fusion.progress import stages
from fusion.teachers.families import FAMILIES
from fusion.teachers.library import qualities, train
from fusion.teachers.specs import Preset, TeacherSet, preset
from fusion.telemetry.dataset import Dataset, Split
from inference.console import console, notes, print_next

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.teachers.onnx_teacher import OnnxTeacher

    Qualities = dict[str, dict[str, float]]
    """Teacher → behaviour → quality."""


def run(*, data: Path, out: Path, preset_name: str, spec: Path | None, seed: int, as_json: bool) -> None:
    """Train and report.

    Raises:
        PlayfuseError: the dataset, the spec or the folder cannot be used, or a behaviour cannot be learnt.
    """
    if preset_name not in tuple(Preset):
        raise FusionError(where="--preset", got=preset_name, expected=f"one of {', '.join(Preset)}")
    dataset = Dataset.load(data)
    chosen = _chosen(Preset(preset_name), dataset) if spec is None else _read(spec)
    started = time.perf_counter()
    with stages() as told:
        teachers = train(dataset, chosen.teachers, out, seed=seed, progress=told)
    seconds = time.perf_counter() - started
    test = {teacher.card.name: qualities(teacher, dataset, dataset.rows(Split.TEST)) for teacher in teachers}
    if as_json:
        print(json.dumps(_report(dataset, teachers, test), indent=1))
        return
    _print(dataset, teachers, test)
    parameters = sum(teacher.card.parameters for teacher in teachers)
    said = f"\n{len(teachers)} teachers, {parameters:,} parameters, trained in {seconds:.0f} s."
    print_next(said, ("playfuse", "fuse", data, "--teachers", out, "--out", out.parent / "artifact"))


def _read(spec: Path) -> TeacherSet:
    return yaml_file.read(spec, TeacherSet, fix="docs/teachers.md shows a whole file.")


def _chosen(which: Preset, dataset: Dataset) -> TeacherSet:
    """The preset's teachers that can learn from this dataset; the families left out are told."""
    has_sessions = dataset.recorded is not None
    if not has_sessions:
        left_out = " and ".join(family for family, trainer in FAMILIES.items() if trainer.uses_sequences)
        said = f"{dataset.name} is a table, without session histories: {left_out}, which read them, are left out"
        notes.print(said, soft_wrap=True)
    return preset(which, dataset.behaviours, sessions=has_sessions)


def _report(dataset: Dataset, teachers: list[OnnxTeacher], test: Qualities) -> dict[str, object]:
    return {
        "dataset": {"name": dataset.name, "synthetic": dataset.synthetic, "notice": dataset.notice},
        "teachers": [
            teacher.card.model_dump(mode="json") | {"test_quality": test[teacher.card.name]} for teacher in teachers
        ],
    }


def _print(dataset: Dataset, teachers: list[OnnxTeacher], test: Qualities) -> None:
    """One line per teacher under each behaviour; the best of them on the validation players stands out."""
    simulated = " (simulated players)" if dataset.synthetic else ""
    table = Table(title=f"Teachers on {dataset.name}{simulated}", title_justify="left")
    table.add_column("behaviour, measure\n  teacher", overflow="fold")
    table.add_column("family")
    for heading in ("parameters", "validation", "test"):
        table.add_column(heading, justify="right", no_wrap=True)
    for behaviour in dataset.behaviours:
        able = [teacher for teacher in teachers if behaviour in teacher.card.behaviours]
        able.sort(key=lambda teacher: -teacher.card.validation_quality.get(behaviour.name, float("-inf")))
        table.add_row(f"{behaviour.name}, {measure(behaviour)}")
        for place, teacher in enumerate(able):
            card = teacher.card
            table.add_row(
                f"  {card.name}",
                card.family,
                f"{card.parameters:,}",
                _figure(card.validation_quality.get(behaviour.name)),
                _figure(test[card.name].get(behaviour.name)),
                style="bold" if place == 0 else "",
                end_section=place == len(able) - 1,
            )
    console.print(table)


def _figure(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
