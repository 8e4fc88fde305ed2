"""Any file that a spec describes, a session log or a table, as a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.telemetry.dataset import build
from fusion.telemetry.log import read_log
from fusion.telemetry.table import read_table
from fusion.telemetry.table_spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.telemetry.dataset import Dataset
    from fusion.telemetry.spec import Spec


def read(path: Path, spec: Spec | TableSpec, *, split: int = 0) -> Dataset:
    """Read a file as its spec says.

    Args:
        path: of the log or table.
        spec: what its columns mean.
        split: which of eight independent splits of the players.

    Raises:
        FusionError: see `fusion.telemetry.log.read_log` and `fusion.telemetry.table.read_table`.
    """
    return (
        read_table(path, spec, split=split) if isinstance(spec, TableSpec) else build(read_log(path, spec), split=split)
    )
