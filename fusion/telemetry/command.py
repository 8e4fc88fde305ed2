"""`playfuse data`: a session log, a table, simulated players or statistics in; a dataset and a report out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion import yaml_file
from fusion.distill.statistics import Statistics, draw
from fusion.errors import FusionError
from fusion.telemetry.dataset import build
from fusion.telemetry.read import read
from fusion.telemetry.report import describe, show
from fusion.telemetry.simulate import simulate as simulate_log
from fusion.telemetry.spec import load_any_spec, shipped
from inference.console import console, notes, print_next

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.telemetry.dataset import Dataset


def run(
    *,
    log: Path | None,
    spec: str | None,
    simulate: int | None,
    statistics: Path | None,
    rows: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Make the dataset, write it where `out` says, print the report.

    Raises:
        FusionError: the options contradict one another, or the file or its spec cannot be used.
    """
    with notes.status("reading the file" if log is not None else "making players up") as status:
        dataset = _dataset(log, spec, simulate, statistics, rows, seed)
        if out is not None:
            status.update(f"writing {out}")
            dataset.save(out)
    report = describe(dataset)
    if as_json:
        console.print_json(report.model_dump_json())
        return
    show(report, console)
    if out is not None:
        teachers = out.parent / "teachers"
        follows = ("train", out, "--out", teachers) if statistics is None else ("fuse", out, teachers, "--out", "fused")
        print_next(f"Written to {out}.", ("playfuse", *follows))


def _dataset(
    log: Path | None, spec: str | None, simulate: int | None, statistics: Path | None, rows: int, seed: int
) -> Dataset:
    sources = (("a log", log), ("--simulate", simulate), ("--statistics", statistics))
    given = [name for name, value in sources if value is not None]
    if len(given) != 1:
        raise FusionError(
            "playfuse data",
            got=f"both {' and '.join(given)}" if given else "neither a log nor --simulate nor --statistics",
            expected="one of them",
            fix="Try: playfuse data --simulate 2000 --out runs/data",
        )
    if simulate is not None:
        return build(simulate_log(simulate, seed=seed))
    if statistics is not None:
        return draw(yaml_file.read(statistics, Statistics, fix="`playfuse statistics` writes it."), rows, seed=seed)
    if spec is None or log is None:
        raise FusionError(
            "playfuse data, --spec",
            got="nothing",
            expected=f"a YAML file that says what its columns mean, or one of {', '.join(shipped())}",
            fix="docs/telemetry.md shows how to write one in five minutes.",
        )
    return read(log, load_any_spec(spec))
