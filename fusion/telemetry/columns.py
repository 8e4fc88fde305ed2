"""Columns of a log as Polars expressions: text and numbers → player, start, duration, co-op. Unreadable → null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fusion.telemetry.spec import ISO_8601, UNIX_UNITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.telemetry.spec import Spec

_UNIT_SECONDS: Final = {"milliseconds": 0.001, "seconds": 1.0, "minutes": 60.0, "hours": 3_600.0}
_TRUE: Final = ("true", "t", "yes", "y", "1", "1.0")
_FALSE: Final = ("false", "f", "no", "n", "0", "0.0")
_LATEST_SECONDS: Final = 4_102_444_800
"""2100-01-01: a later time, or one before 1970, is a wrong unit or a damaged value."""


def expressions(spec: Spec, schema: pl.Schema) -> list[pl.Expr]:
    """What to select from the log: `player`, `start`, `duration` (both whole seconds) and `coop`."""
    names = spec.columns
    start = _unix_seconds(names.start, schema[names.start], spec)
    if names.end is not None:
        duration = _unix_seconds(names.end, schema[names.end], spec) - start
    else:
        assert names.duration is not None
        duration = _duration_seconds(names.duration, schema[names.duration], spec)
    coop = pl.lit(None, dtype=pl.Int8) if names.coop is None else _flag(names.coop)
    return [
        ids(names.player, schema[names.player]).cast(pl.Categorical).alias("player"),
        start.alias("start"),
        duration.alias("duration"),
        coop.alias("coop"),
    ]


def ids(name: str, dtype: pl.DataType) -> pl.Expr:
    """Players' ids as text; null where there is none, which data frames write as NaN."""
    column = pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)
    text = column.cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


def codes(players: pl.Series) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Number the players in the order of their ids: (sessions,) codes, and the id of each code."""
    distinct = players.unique().cast(pl.String).sort()
    numbered = pl.DataFrame({"id": distinct, "code": np.arange(len(distinct), dtype=np.int64)})
    lookup = numbered.with_columns(pl.col("id").cast(players.dtype))
    joined = pl.DataFrame({"id": players}).join(lookup, on="id", how="left", maintain_order="left")
    return joined["code"].to_numpy(), tuple(distinct.to_list())


def _unix_seconds(name: str, dtype: pl.DataType, spec: Spec) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        seconds = (_localised(column, spec) if dtype.time_zone is None else column).dt.epoch("s")
    elif dtype.is_numeric():
        ticks = next((UNIX_UNITS[name] for name in spec.time_formats if name in UNIX_UNITS), None)
        seconds = pl.lit(None, dtype=pl.Int64) if ticks is None else _whole(column.cast(pl.Float64) / ticks)
    else:
        text = column.cast(pl.String).str.strip_chars()
        seconds = pl.coalesce([expression for name in spec.time_formats for expression in _parsed(text, name, spec)])
    return pl.when((seconds >= 0) & (seconds < _LATEST_SECONDS)).then(seconds)


def _parsed(text: pl.Expr, time_format: str, spec: Spec) -> list[pl.Expr]:
    """The ways to read one format, as Unix seconds; each gives null where it does not fit."""
    if time_format in UNIX_UNITS:
        return [_whole(text.cast(pl.Float64, strict=False) / UNIX_UNITS[time_format])]
    if time_format != ISO_8601:
        parsed = text.str.to_datetime(time_format, strict=False, time_unit="us", exact=True)
        aware = "%z" in time_format or "%:z" in time_format or "%#z" in time_format
        return [(parsed if aware else _localised(parsed, spec)).dt.epoch("s")]
    iso = text.str.replace(" ", "T", literal=True)
    with_offset = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us")
    without = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
    return [with_offset.dt.epoch("s"), _localised(without, spec).dt.epoch("s")]


def _localised(naive: pl.Expr, spec: Spec) -> pl.Expr:
    """A time without zone, taken to be in the spec's. An hour that clocks skip is null, one they repeat the first."""
    return naive.dt.replace_time_zone(spec.time_zone, ambiguous="earliest", non_existent="null")


def _duration_seconds(name: str, dtype: pl.DataType, spec: Spec) -> pl.Expr:
    if isinstance(dtype, pl.Duration):
        return pl.col(name).dt.total_seconds()
    number = pl.col(name).cast(pl.Float64, strict=False)
    return _whole(number * _UNIT_SECONDS[spec.duration_unit])


def _flag(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.strip_chars().str.to_lowercase()
    return pl.when(text.is_in(_TRUE)).then(1).when(text.is_in(_FALSE)).then(0).cast(pl.Int8)


def _whole(seconds: pl.Expr) -> pl.Expr:
    """Whole seconds, rounded down; null for NaN, infinity and what no int64 holds."""
    return pl.when(seconds.is_finite() & (seconds.abs() < 1e15)).then(seconds.floor()).cast(pl.Int64, strict=False)
