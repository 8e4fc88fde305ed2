"""Tables, one row per player: numeric columns become features, other columns behaviours. There are no histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fusion.errors import FusionError
from fusion.telemetry import columns
from fusion.telemetry.dataset import Dataset, TableCleaning, censored, split_players
from fusion.telemetry.log import file_sha256, read_columns

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.telemetry.table_spec import Amount, Label, TableSpec

_LARGEST: Final = float(np.finfo(np.float32).max)


class TableError(FusionError):
    """A table that cannot be used as it stands."""


def read_table(path: Path, spec: TableSpec, *, split: int = 0) -> Dataset:
    """Read a table as a dataset: one row per player, in the table's order.

    Args:
        path: of a .csv, .csv.gz or .parquet file.
        spec: what its columns mean.
        split: which of eight independent splits of the players.

    Raises:
        LogError: there is no such file, it is of another format or damaged, or lacks a column.
        TableError: it has no row left, a player has several rows, a number is none, or a behaviour has but one answer.
    """
    frame = read_columns(path, spec.needed, lambda _: [pl.col(name) for name in spec.needed])
    players = frame.select(columns.ids(spec.player, frame.schema[spec.player])).to_series()
    values = {name: _numbers(path, frame[name], spec.missing) for name in spec.needed if name != spec.player}
    kept, cleaning = _kept(path, spec, players, values)
    ids = players.filter(kept).to_list()
    values = {name: column[kept] for name, column in values.items()}
    # Probabilities first, then amounts, as in every dataset.
    labels = sorted(spec.behaviours, key=lambda label: not label.behaviour().is_binary)
    behaviours = tuple(label.behaviour() for label in labels)
    answers = np.stack([_answers(path, label, values) for label in labels], axis=1).astype(np.float32)
    parts, fold = split_players(ids, split)
    return Dataset(
        name=spec.name,
        synthetic=spec.synthetic,
        notice=spec.notice,
        sha256=file_sha256(path),
        behaviours=behaviours,
        feature_names=tuple(spec.features),
        features=np.stack([values[column] for column in spec.features.values()], axis=1).astype(np.float32),
        recorded=None,
        labels=answers,
        player=np.arange(len(ids), dtype=np.int64),
        split=parts,
        fold=fold,
        cleaning=cleaning,
        censored=censored(behaviours, answers),
    )


def _numbers(path: Path, column: pl.Series, missing: tuple[str, ...]) -> NDArray[np.float64]:
    """A column as numbers, NaN where unknown.

    Raises:
        TableError: something else stands there; names the first such row, counted from 1.
    """
    where = f"{path}, column {column.name!r}"
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        numbers, is_text = column.cast(pl.Float64), pl.Series([False]).new_from_index(0, len(column))
    elif column.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = column.cast(pl.String).str.strip_chars()
        text = text.set(text.is_in(["", *missing]), None)
        numbers = text.cast(pl.Float64, strict=False)
        is_text = text.is_not_null() & numbers.is_null()
    else:
        raise TableError(where, got=f"values of type {column.dtype}", expected="numbers")
    # Data frames write NaN for what they do not know; to Polars it would be the largest number there is.
    numbers = numbers.fill_nan(None)
    numbers = numbers.set(numbers.is_in(_as_numbers(missing)), None)
    wrong = is_text | (numbers.abs() > _LARGEST).fill_null(value=False)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise TableError(
            where,
            got=f"{column[row]!r} in row {row + 1}, the first of {int(wrong.sum())} such rows",
            expected=f"numbers, at most {_LARGEST:.3g}",
            fix=f"If it stands for an unknown value, name it in the spec: missing: [{str(column[row])!r}].",
        )
    return numbers.fill_null(np.nan).to_numpy().astype(np.float64)


def _as_numbers(missing: tuple[str, ...]) -> list[float]:
    parsed = pl.Series(missing, dtype=pl.String).cast(pl.Float64, strict=False)
    return parsed.drop_nulls().to_list()


def _kept(
    path: Path, spec: TableSpec, players: pl.Series, values: dict[str, NDArray[np.float64]]
) -> tuple[NDArray[np.bool_], TableCleaning]:
    """Which rows stay, and what became of the others."""
    named = players.is_not_null().to_numpy()
    once = players.is_unique().to_numpy()
    if spec.repeated_players == "refuse" and (named & ~once).any():
        rows = np.flatnonzero((players == players[int(np.flatnonzero(named & ~once)[0])]).to_numpy())
        raise TableError(
            f"{path}, column {spec.player!r}",
            got=f"player {players[int(rows[0])]!r} in rows {rows[0] + 1} and {rows[1] + 1}, "
            f"{int((named & ~once).sum())} rows of repeated ids in all",
            expected="one row per player",
            fix="Sum the rows of a player up; or, where they are damage, say `repeated_players: drop` in the spec.",
        )
    wanted = np.all([np.ones(len(players), dtype=np.bool_), *(_holds(each, values) == 1 for each in spec.keep)], axis=0)
    kept = named & once & wanted
    cleaning = TableCleaning(
        rows=len(players),
        no_player=int((~named).sum()),
        repeated_player=int((named & ~once).sum()),
        not_kept=int((named & once & ~wanted).sum()),
    )
    if not kept.any():
        reasons = ", ".join(f"{name}: {count}" for name, count in cleaning.dropped.items() if count)
        raise TableError(
            str(path),
            got=f"{len(players)} rows" + f", none of use ({reasons})" * bool(reasons),
            expected="a row per player",
        )
    return kept, cleaning


def _holds(amount: Amount, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The number; or, of a question, 1 for yes and 0 for no. NaN where unknown."""
    number: NDArray[np.float64] = np.sum([values[name] for name in amount.columns], axis=0)
    if not amount.asks:
        return number
    low = -np.inf if amount.at_least is None else amount.at_least
    high = np.inf if amount.at_most is None else amount.at_most
    return np.where(np.isnan(number), np.nan, (number >= low) & (number <= high))


def _answers(path: Path, label: Label, values: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """(rows,) labels on the served scale, NaN where unknown.

    Raises:
        TableError: no two of them differ, or some are not of the behaviour's kind.
    """
    answers = _holds(label, values)
    where = f"{path}, behaviour {label.name}"
    known = np.unique(answers[~np.isnan(answers)])
    if len(known) < 2:
        raise TableError(
            where,
            got=f"{known[0]:g} in every row that knows it" if len(known) else "no row that knows it",
            expected="two different answers at least: of one nothing can be learnt",
            fix="Mend columns, at_least or at_most of the behaviour, or leave it out.",
        )
    if label.behaviour().is_binary and set(known) != {0.0, 1.0}:
        raise TableError(
            where,
            got=f"values such as {known[-1]:g}",
            expected="0 or 1",
            fix="Say at_least or at_most, or another kind.",
        )
    if known[0] < 0:
        raise TableError(where, got=f"{known[0]:g}", expected="amounts of 0 or more")
    return answers
