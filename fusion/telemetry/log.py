"""Session logs: read a CSV, CSV.gz or Parquet file lazily, map its columns as the spec says, clean.

Only the columns that the spec names are read, and as text, so that an id such as `007` stays what it is. What cannot
be read is dropped and counted, never guessed at.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from fusion.errors import FusionError
from fusion.telemetry import columns
from fusion.yaml_file import nearest
from inference.contract.behaviours import DAY_SECONDS
from inference.contract.history import COOP_UNKNOWN, CleaningReport, SessionTable, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fusion.telemetry.spec import Spec

_MAX_SILENT_TAIL_SECONDS: Final = 2 * DAY_SECONDS


class LogError(FusionError):
    """A session log that cannot be used as it stands."""


@dataclass(frozen=True, slots=True)
class Cleaning:
    """What became of every row of a log: rows that could not be read, then what cleaning took away."""

    rows: int
    no_player: int
    unparsable_start: int
    unparsable_end: int
    sessions: CleaningReport

    @property
    def dropped(self) -> dict[str, int]:
        """Reason → rows taken away."""
        unread = {name: getattr(self, name) for name in ("no_player", "unparsable_start", "unparsable_end")}
        return unread | self.sessions.dropped

    @property
    def kept(self) -> int:
        """Sessions left."""
        return self.rows - sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class SessionLog:
    """A cleaned session log.

    Attributes:
        name: the dataset's name.
        synthetic: whether a simulator made it.
        notice: attribution that the data's licence asks for.
        sha256: of the source file (of the arrays where there is none).
        player_ids: (players,) ids as the log spells them.
        player: (sessions,) int64, index into `player_ids`, ascending.
        sessions: cleaned, by player, then start.
        end_seconds: Unix second up to which the log tells everything.
        knows_coop: whether the log says which sessions were co-operative.
        cleaning: what was dropped and why.
    """

    name: str
    synthetic: bool
    notice: str
    sha256: str
    player_ids: tuple[str, ...]
    player: NDArray[np.int64]
    sessions: SessionTable
    end_seconds: int
    knows_coop: bool
    cleaning: Cleaning


def read_log(path: Path, spec: Spec) -> SessionLog:
    """Read and clean a session log.

    Raises:
        LogError: there is no such file, it is of another format or damaged, lacks a column, or has no usable session.
    """
    frame = _collect(path, spec)
    rows = len(frame)
    if not rows:
        raise LogError(str(path), got="no rows", expected="at least one session")
    has_player = frame["player"].is_not_null()
    has_start = frame["start"].is_not_null()
    has_end = frame["duration"].is_not_null()
    frame_kept = frame.filter(has_player & has_start & has_end)
    unread = {
        "no_player": int((~has_player).sum()),
        "unparsable_start": int((has_player & ~has_start).sum()),
        "unparsable_end": int((has_player & has_start & ~has_end).sum()),
    }
    if frame_kept.is_empty():
        raise _unreadable(path, spec, rows, unread)
    return _cleaned(path, spec, frame_kept, rows, unread)


def _cleaned(path: Path, spec: Spec, frame: pl.DataFrame, rows: int, unread: dict[str, int]) -> SessionLog:
    codes, ids = columns.codes(frame["player"])
    sessions = SessionTable(
        frame["start"].to_numpy().astype(np.int64, copy=False),
        frame["duration"].to_numpy().astype(np.int64, copy=False),
        frame["coop"].fill_null(COOP_UNKNOWN).to_numpy().astype(np.int8, copy=False),
    )
    window = spec.window
    player, sessions, report = clean(
        codes,
        sessions,
        window_start_seconds=None if window.start is None else int(window.start.timestamp()),
        window_end_seconds=None if window.end is None else int(window.end.timestamp()),
    )
    if not len(sessions):
        reasons = ", ".join(f"{name}: {count}" for name, count in report.dropped.items() if count)
        raise LogError(
            str(path),
            got=f"{rows} rows, none left after cleaning ({reasons})",
            expected="sessions longer than 0 and at most 10 hours, inside the window of the spec",
        )
    return SessionLog(
        name=spec.name,
        synthetic=spec.synthetic,
        notice=spec.notice,
        sha256=file_sha256(path),
        player_ids=ids,
        player=player,
        sessions=sessions,
        end_seconds=_log_end(path, spec, sessions),
        knows_coop=spec.columns.coop is not None,
        cleaning=Cleaning(rows=rows, sessions=report, **unread),
    )


def _log_end(path: Path, spec: Spec, sessions: SessionTable) -> int:
    latest = int(sessions.end_seconds.max())
    if spec.window.end is None:
        return latest
    end = int(spec.window.end.timestamp())
    if end - latest > _MAX_SILENT_TAIL_SECONDS:
        raise LogError(
            f"{path}, window.end of the spec",
            got=f"{spec.window.end.isoformat()}, but the last session ends at {_utc(latest)}",
            expected="an end that the log reaches",
            fix="The time between would be learned as players leaving: lower window.end, or leave it out.",
        )
    return end


def _collect(path: Path, spec: Spec) -> pl.DataFrame:
    """Columns player (text), start (Unix seconds), duration (seconds), coop (1, 0, null): null where not readable."""
    return read_columns(path, spec.columns.needed, lambda schema: columns.expressions(spec, schema))


def read_columns(path: Path, needed: Sequence[str], select: Callable[[pl.Schema], Sequence[pl.Expr]]) -> pl.DataFrame:
    """Read some columns of a .csv, .csv.gz or .parquet file, lazily; all columns of a CSV are text.

    Args:
        path: of the file.
        needed: columns that it must have.
        select: what to read, from the file's schema.

    Raises:
        LogError: there is no such file, it is of another format or damaged, or lacks a column.
    """
    try:
        scan = _scan(path)
        schema = scan.collect_schema()
        for name in needed:
            if name not in schema:
                raise LogError(
                    str(path),
                    got=f"the columns {', '.join(schema)}",
                    expected=f"a column {name!r}, as the spec says",
                    fix=f"Mend the spec{nearest(name, list(schema))}",
                )
        return scan.select(select(schema)).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogError(
            str(path),
            got=f"a file that cannot be read ({str(error).splitlines()[0]:.200})",
            expected="a whole .csv, .csv.gz or .parquet file",
            fix="It may be cut off or of another format: copy or export it again.",
        ) from error


def _scan(path: Path) -> pl.LazyFrame:
    if not path.is_file():
        raise LogError(
            str(path),
            got="a folder" if path.is_dir() else "no such file",
            expected="a .csv, .csv.gz or .parquet file",
        )
    if path.name.endswith((".csv", ".csv.gz")):
        return pl.scan_csv(path, infer_schema=False)
    if path.name.endswith(".parquet"):
        return pl.scan_parquet(path)
    raise LogError(str(path), got=f"the ending {path.suffix!r}", expected=".csv, .csv.gz or .parquet")


def _unreadable(path: Path, spec: Spec, rows: int, unread: dict[str, int]) -> LogError:
    reasons = ", ".join(f"{name}: {count}" for name, count in unread.items() if count)
    first = _scan(path).select(spec.columns.needed).head(1).collect().row(0, named=True)
    return LogError(
        str(path),
        got=f"{rows} rows, none readable ({reasons}); the first is {first}",
        expected=f"a player id, and times as {' or '.join(spec.time_formats)}",
        fix="Mend `columns` or `time_formats` in the spec.",
    )


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
