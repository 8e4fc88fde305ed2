"""`playfuse statistics`: what a team may export instead of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.distill.statistics import measure
from fusion.errors import FusionError
from fusion.telemetry.dataset import Dataset
from inference.console import print_next

if TYPE_CHECKING:
    from pathlib import Path


def run(*, data: Path, out: Path) -> None:
    """Write the statistics of a dataset; a file that is there is replaced.

    Raises:
        FusionError: the dataset has too few players, or the file cannot be written.
    """
    statistics = measure(Dataset.load(data))
    try:
        out.write_text(statistics.model_dump_json(indent=1) + "\n", "utf-8")
    except OSError as error:
        raise FusionError(
            str(out), got=error.strerror, expected="a file that can be written", fix="Name another path with --out."
        ) from error
    said = f"{out} has quantiles and correlations of {statistics.players:,} players: no rows, no labels."
    print_next(said, ("playfuse", "data", "--statistics", out, "--out", "runs/drawn"))
