"""The spec of a session log: which columns mean what. A small YAML file that a studio writes for its own log."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fusion import yaml_file
from fusion.errors import FusionError
from fusion.telemetry.table_spec import TableSpec
from inference.contract.behaviours import Identifier

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

DurationUnit = Literal["milliseconds", "seconds", "minutes", "hours"]
ISO_8601: Final = "iso8601"
UNIX_UNITS: Final = {"unix_seconds": 1, "unix_milliseconds": 1_000, "unix_microseconds": 1_000_000}
"""Numeric time formats → ticks per second."""

_DOCS = "docs/telemetry.md shows a whole spec."


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Columns(_Part):
    """Names of the log's columns. Exactly one of `end` and `duration` is given."""

    player: str = Field(min_length=1, description="player id, any text or number; only its hash is used")
    start: str = Field(min_length=1, description="when the session started")
    end: str | None = Field(default=None, min_length=1, description="when it ended")
    duration: str | None = Field(default=None, min_length=1, description="how long it lasted, in `duration_unit`")
    coop: str | None = Field(default=None, min_length=1, description="whether it was played with others: true or 1")

    @model_validator(mode="after")
    def _end_or_duration(self) -> Columns:
        if (self.end is None) == (self.duration is None):
            msg = "give exactly one of `end` and `duration`"
            raise ValueError(msg)
        return self

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns to read, each once, in the order in which they are declared."""
        names = (self.player, self.start, self.end, self.duration, self.coop)
        return tuple(dict.fromkeys(name for name in names if name is not None))


class Window(_Part):
    """What the log covers, UTC unless said: sessions outside are dropped, labels that need more are censored."""

    start: datetime | None = None
    end: datetime | None = None

    @field_validator("start", "end")
    @classmethod
    def _utc_unless_said(cls, moment: datetime | None) -> datetime | None:
        return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment

    @model_validator(mode="after")
    def _in_order(self) -> Window:
        if self.start is not None and self.end is not None and self.start >= self.end:
            msg = f"start {self.start.isoformat()} is not before end {self.end.isoformat()}"
            raise ValueError(msg)
        return self


class Spec(_Part):
    """How to read one game's session log."""

    kind: Literal["sessions"] = "sessions"
    name: Identifier = Field(description="name of the dataset: lower case, digits, underscores")
    columns: Columns
    time_formats: tuple[str, ...] = Field(
        default=(ISO_8601,),
        min_length=1,
        description=f"{ISO_8601}, {', '.join(UNIX_UNITS)} or strptime patterns; the first that fits a value reads it",
    )
    time_zone: str = Field(default="UTC", description="zone of times that do not name one")
    duration_unit: DurationUnit = Field(default="seconds", description="one of " + ", ".join(get_args(DurationUnit)))
    window: Window = Window()
    notice: str = Field(default="", description="attribution that the data's licence asks for; kept with every result")
    synthetic: bool = Field(default=False, description="the log comes from a simulator")
    file: str | None = Field(default=None, description="where the log lies below the data folder, for `find_log`")

    @field_validator("time_formats")
    @classmethod
    def _known_formats(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        for name in formats:
            if name != ISO_8601 and name not in UNIX_UNITS and "%" not in name:
                msg = f"{name!r} is neither {ISO_8601}, {', '.join(UNIX_UNITS)} nor a pattern such as %Y-%m-%d %H:%M:%S"
                raise ValueError(msg)
        return formats

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name != "UTC" and name not in available_timezones():
            msg = f"{name!r} is no IANA time zone{yaml_file.nearest(name, available_timezones())}"
            raise ValueError(msg)
        return name


def shipped() -> tuple[str, ...]:
    """Names of the specs that come with playfuse."""
    return tuple(sorted(Path(entry.name).stem for entry in _folder().iterdir() if entry.name.endswith(".yaml")))


class _Kind(BaseModel):
    """What a spec says of itself; the rest is read when that is known."""

    kind: Literal["sessions", "table"] = "sessions"


def load_any_spec(name_or_path: str | Path) -> Spec | TableSpec:
    """Read a shipped spec by name, or a YAML file: of a table where it says `kind: table`, else of a session log.

    Raises:
        FusionError: there is no such spec, or it is not valid; an unknown key names the nearest valid one.
    """
    if name_or_path in shipped():
        text, where = (_folder() / f"{name_or_path}.yaml").read_text("utf-8"), f"shipped spec {name_or_path}"
    elif Path(name_or_path).exists():
        text, where = yaml_file.text(Path(name_or_path), fix=_DOCS), str(name_or_path)
    else:
        raise FusionError(
            str(name_or_path),
            got=f"no such file or shipped spec{yaml_file.nearest(str(name_or_path), shipped())}",
            expected=f"a YAML file, or one of {', '.join(shipped())}",
            fix=_DOCS,
        )
    if yaml_file.parse(text, _Kind, where=where, fix=_DOCS).kind == "table":
        return yaml_file.parse(text, TableSpec, where=where, fix=_DOCS)
    return yaml_file.parse(text, Spec, where=where, fix=_DOCS)


def load_spec(name_or_path: str | Path) -> Spec:
    """The same, of a session log.

    Raises:
        FusionError: as above, or it describes a table.
    """
    spec = load_any_spec(name_or_path)
    if isinstance(spec, TableSpec):
        raise FusionError(str(name_or_path), got="the spec of a table", expected="the spec of a session log", fix=_DOCS)
    return spec


def _folder() -> Traversable:
    return resources.files("fusion.telemetry") / "specs"
