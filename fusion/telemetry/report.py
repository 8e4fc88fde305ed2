"""What a dataset holds, as data for JSON and as tables for people: cleaning, split, censoring, base rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from rich.markup import escape
from rich.table import Table

from fusion.telemetry.dataset import Split

if TYPE_CHECKING:
    from rich.console import Console

    from fusion.telemetry.dataset import Dataset


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitReport(_Frozen):
    """Size of one split."""

    players: int
    rows: int


class BehaviourReport(_Frozen):
    """Labels of one behaviour."""

    unit: str
    censored: int = Field(description="rows without a label, because the file ends too early or does not tell")
    mean: dict[str, float | None] = Field(description="split → mean label on the served scale; null without labels")


class DataReport(_Frozen):
    """What `playfuse data` answers."""

    name: str
    synthetic: bool
    notice: str
    sha256: str
    rows_read: int
    dropped: dict[str, int] = Field(description="reason → rows of the file taken away")
    sessions: int | None = Field(description="kept; null where a table was read, which has none")
    players: int
    features: int
    splits: dict[str, SplitReport]
    behaviours: dict[str, BehaviourReport]


def describe(dataset: Dataset) -> DataReport:
    """Count and average everything that the report tells."""
    rows = {split.name.lower(): dataset.rows(split) for split in Split}

    def mean(column: int, chosen: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float | None:
        labels = dataset.labels[chosen, column].astype(np.float64)
        known = labels[~np.isnan(labels)]
        return float(known.mean()) if len(known) else None

    return DataReport(
        name=dataset.name,
        synthetic=dataset.synthetic,
        notice=dataset.notice,
        sha256=dataset.sha256,
        rows_read=dataset.cleaning.rows,
        dropped=dataset.cleaning.dropped,
        sessions=None if dataset.recorded is None else dataset.cleaning.kept,
        players=len(np.unique(dataset.player)),
        features=len(dataset.feature_names),
        splits={
            name: SplitReport(players=len(np.unique(dataset.player[chosen])), rows=len(chosen))
            for name, chosen in rows.items()
        },
        behaviours={
            behaviour.name: BehaviourReport(
                unit=behaviour.unit,
                censored=dataset.censored[behaviour.name],
                mean={name: mean(column, chosen) for name, chosen in rows.items()},
            )
            for column, behaviour in enumerate(dataset.behaviours)
        },
    )


def show(report: DataReport, console: Console) -> None:
    """Print the report as tables."""
    kind = " [yellow](synthetic: simulated players)[/]" if report.synthetic else ""
    console.print(f"[bold]{escape(report.name)}[/]{kind}")
    console.print(_cleaning(report))
    console.print(_behaviours(report))
    if report.notice:
        console.print(f"[dim]{escape(report.notice)}[/]", highlight=False)


def _cleaning(report: DataReport) -> Table:
    table = Table(
        "rows of the table" if report.sessions is None else "rows of the log",
        "",
        title="Cleaning",
        title_justify="left",
    )
    table.columns[1].justify = "right"
    table.add_row("read", f"{report.rows_read:,}")
    for reason, count in report.dropped.items():
        table.add_row(f"  {reason.replace('_', ' ')}", f"- {count:,}" if count else "0", style=None if count else "dim")
    if report.sessions is not None:
        table.add_row("[bold]sessions kept[/]", f"[bold]{report.sessions:,}[/]")
    table.add_row("players", f"{report.players:,}")
    return table


def _behaviours(report: DataReport) -> Table:
    table = Table("behaviour", "unit", title="Labels: mean by split of the players", title_justify="left")
    table.add_column("censored", justify="right")
    for name in report.splits:
        table.add_column(name, justify="right")
    for name, behaviour in report.behaviours.items():
        means = ("-" if value is None else f"{value:.3f}" for value in behaviour.mean.values())
        table.add_row(name, behaviour.unit, f"{behaviour.censored:,}", *means)
    table.add_section()
    table.add_row("rows", "", "", *(f"{split.rows:,}" for split in report.splits.values()))
    table.add_row("players", "", "", *(f"{split.players:,}" for split in report.splits.values()))
    return table
