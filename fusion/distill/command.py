"""`playfuse statistics`: what a team may export instead of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.distill.statistics import measure
from fusion.errors import disk_faults
from fusion.telemetry.dataset import Dataset
from inference.console import print_next
from inference.contract import staging

if TYPE_CHECKING:
    from pathlib import Path


def run(*, data: Path, out: Path) -> None:
    """Write the statistics of a dataset; a file that is there is replaced.

    Raises:
        FusionError: the dataset has too few players, or the file cannot be written.
    """
    statistics = measure(Dataset.load(data))
    fix = "Free some space, or name another path with --out; nothing half-written was left."
    with disk_faults(out, expected="a file that can be written", fix=fix):
        staging.put_file(out, (statistics.model_dump_json(indent=1) + "\n").encode())
    said = f"{out} has quantiles and correlations of {statistics.players:,} players: no rows, no labels."
    print_next(said, ("playfuse", "data", "--statistics", out, "--out", "runs/drawn"))
