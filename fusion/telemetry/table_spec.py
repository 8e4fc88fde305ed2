"""The spec of a table, one row per player: which columns are features, and which tell what the player did."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from inference.contract.behaviours import DAY_SECONDS, Behaviour, Identifier, Kind
from inference.contract.features import FEATURE_NAMES

ColumnName = Annotated[str, Field(min_length=1)]
Columns = Annotated[
    tuple[ColumnName, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(min_length=1),
]
"""One column, or several whose sum is meant."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Amount(_Part):
    """A number of each row: a column, or the sum of several; unknown where one of them is."""

    columns: Columns
    at_least: float | None = Field(default=None, allow_inf_nan=False, description="asks whether it is so large")
    at_most: float | None = Field(default=None, allow_inf_nan=False, description="asks whether it is so small")

    @property
    def asks(self) -> bool:
        """Whether it is a question, answered by yes or no, and not a number."""
        return self.at_least is not None or self.at_most is not None


class Condition(Amount):
    """What must hold of a row."""

    @model_validator(mode="after")
    def _asks(self) -> Condition:
        if not self.asks:
            msg = "give at_least or at_most"
            raise ValueError(msg)
        return self


class Label(Amount):
    """One behaviour: what the table says happened."""

    name: Identifier
    kind: Kind = Field(description="binary, regression or count")
    unit: str = Field(default="", description="of an amount: hours, sessions; a probability needs none")
    description: str = Field(min_length=1, description="what it is, in a few words")
    window_days: float | None = Field(default=None, gt=0, description="how far it looks ahead, where that is known")

    @model_validator(mode="after")
    def _kind_and_question(self) -> Label:
        if self.kind is not Kind.BINARY and self.asks:
            msg = f"at_least and at_most make a yes or no of it, kind {Kind.BINARY}, not {self.kind}"
            raise ValueError(msg)
        if (self.kind is Kind.BINARY) == bool(self.unit):
            msg = "a binary behaviour has no unit of its own" if self.unit else "an amount needs a unit"
            raise ValueError(msg)
        return self

    def behaviour(self) -> Behaviour:
        """As the dataset, the teachers and the artifact know it."""
        return Behaviour(
            name=self.name,
            kind=self.kind,
            unit=self.unit or "probability",
            description=self.description,
            window_seconds=None if self.window_days is None else max(1, round(self.window_days * DAY_SECONDS)),
        )


class TableSpec(_Part):
    """How to read one table."""

    kind: Literal["table"]
    name: Identifier = Field(description="name of the dataset: lower case, digits, underscores")
    player: ColumnName = Field(description="column of the player's id, any text or number; only its hash is used")
    features: dict[Identifier, ColumnName] = Field(min_length=1, description="feature → its column of numbers")
    behaviours: tuple[Label, ...] = Field(min_length=1)
    missing: tuple[str, ...] = Field(default=(), description="what stands for an unknown value; an empty cell always")
    keep: tuple[Condition, ...] = Field(default=(), description="what must hold of a row; the others are dropped")
    repeated_players: Literal["refuse", "drop"] = Field(
        default="refuse", description="what to do where an id has several rows: drop drops all of them"
    )
    notice: str = Field(default="", description="attribution that the data's licence asks for; kept with every result")
    synthetic: bool = Field(default=False, description="the players are simulated")
    file: str | None = Field(default=None, description="where the table lies below the data folder, for `find_log`")

    @field_validator("features")
    @classmethod
    def _own_names(cls, features: dict[str, str]) -> dict[str, str]:
        taken = sorted(set(features) & set(FEATURE_NAMES))
        if taken:
            msg = f"{', '.join(taken)}: playfuse computes what is called so from sessions; choose another name"
            raise ValueError(msg)
        return features

    @model_validator(mode="after")
    def _nothing_leaks(self) -> TableSpec:
        names = [label.name for label in self.behaviours]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"behaviours named twice: {', '.join(twice)}"
            raise ValueError(msg)
        told = {column for label in self.behaviours for column in label.columns}
        leaks = [name for name, column in self.features.items() if column in {*told, self.player}]
        if leaks:
            msg = f"the features {', '.join(leaks)} read a column that is the player's id or a behaviour's answer"
            raise ValueError(msg)
        return self

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns to read, each once, in the order in which they are declared."""
        amounts = [column for amount in (*self.behaviours, *self.keep) for column in amount.columns]
        return tuple(dict.fromkeys((self.player, *self.features.values(), *amounts)))
