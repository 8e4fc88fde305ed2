"""Which teachers to train: a YAML file of the user's, or one of two presets."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from fusion.errors import FusionError
from fusion.teachers.families import FAMILIES
from fusion.teachers.teacher import Settings
from fusion.yaml_file import nearest
from inference.contract.behaviours import Behaviour, Identifier

if TYPE_CHECKING:
    from collections.abc import Sequence


class TeacherSpec(BaseModel):
    """One teacher to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Identifier
    family: str
    behaviours: tuple[Identifier, ...] | None = Field(
        default=None, min_length=1, description="what it predicts; all of the dataset's where left out"
    )
    settings: dict[str, JsonValue] = Field(default={}, description="what differs from the family's defaults")

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES:
            msg = f"one of {', '.join(FAMILIES)}{nearest(family, FAMILIES)}"
            raise ValueError(msg)
        return family

    @field_validator("behaviours")
    @classmethod
    def _each_once(cls, behaviours: tuple[str, ...] | None) -> tuple[str, ...] | None:
        _check_differ("named twice", behaviours or ())
        return behaviours

    @field_validator("settings")
    @classmethod
    def _of_the_family(cls, settings: dict[str, JsonValue], info: ValidationInfo) -> dict[str, JsonValue]:
        if "family" in info.data:
            known = FAMILIES[info.data["family"]].settings_type
            unknown = next((name for name in settings if name not in known.model_fields), None)
            if unknown is not None:
                meant = nearest(unknown, known.model_fields)
                msg = f"unknown key {unknown!r}{meant}; the family has {', '.join(known.model_fields)}"
                raise ValueError(msg)
            known.model_validate(settings)
        return settings

    def family_settings(self) -> Settings:
        """The settings as the family's own type, defaults filled in."""
        checked: Settings = FAMILIES[self.family].settings_type.model_validate(self.settings)
        return checked

    def choose(self, known: tuple[Behaviour, ...]) -> tuple[Behaviour, ...]:
        """The behaviours it predicts, out of a dataset's.

        Raises:
            FusionError: the dataset does not have one of them.
        """
        by_name = {behaviour.name: behaviour for behaviour in known}
        wanted = tuple(by_name) if self.behaviours is None else self.behaviours
        missing = [name for name in wanted if name not in by_name]
        if missing:
            raise FusionError(
                where=f"behaviours of teacher {self.name}",
                got=", ".join(missing),
                expected=f"some of {', '.join(by_name)}, which the dataset has",
            )
        return tuple(by_name[name] for name in wanted)


class TeacherSet(BaseModel):
    """`teachers.yaml`: all teachers to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teachers: tuple[TeacherSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> TeacherSet:
        _check_differ("two teachers of one name", [spec.name for spec in self.teachers])
        return self


def _check_differ(fault: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{fault}: {', '.join(twice)}"
        raise ValueError(msg)


class Preset(StrEnum):
    """Teacher sets that come with playfuse: as in a studio, most behaviours have models of their own."""

    FULL = "full"
    """What the published figures were reached with: minutes on two cores."""
    DEMO = "demo"
    """The same teachers, smaller and on fewer rows: well under a minute."""


_SINGLE: Final = ("boosted", "mlp")
"""Families of which every behaviour has a teacher of its own."""

_FULL: Final[dict[str, dict[str, JsonValue]]] = {
    "mlp": {"training_rows": 80_000, "epochs": 8, "batch_rows": 2048},
}

_DEMO: Final[dict[str, dict[str, JsonValue]]] = {
    "boosted": {"training_rows": 40_000, "trees": 80, "learning_rate": 0.12, "leaves": 15},
    "gru": {"training_rows": 40_000, "epochs": 6, "width": 32, "hidden": [64]},
    "tcn": {"training_rows": 40_000, "epochs": 6, "width": 32, "hidden": [64]},
    "mlp": {"training_rows": 40_000, "epochs": 4, "hidden": [128, 128], "batch_rows": 2048},
    "logistic": {"training_rows": 40_000, "epochs": 6},
}


_TABLE: Final[dict[str, dict[str, JsonValue]]] = {
    "mlp": {"batch_rows": 128},
    "logistic": {"batch_rows": 64, "epochs": 12},
}
"""What a table needs besides: it has a row per player, not per session, and so few rows want small batches."""


def preset(which: Preset, behaviours: tuple[Behaviour, ...], *, sessions: bool = True) -> TeacherSet:
    """A boosted and an MLP teacher per behaviour, and one GRU, TCN and logistic teacher of all of them.

    Args:
        which: the preset.
        behaviours: of the dataset.
        sessions: whether the dataset knows session histories; families that read them are left out where it does not.
    """

    def settings(family: str) -> dict[str, JsonValue]:
        chosen = (_DEMO if which is Preset.DEMO else _FULL).get(family, {})
        return chosen if sessions else chosen | _TABLE.get(family, {})

    singles = [
        TeacherSpec(
            name=f"{family}_{behaviour.name}",
            family=family,
            behaviours=(behaviour.name,),
            settings=settings(family),
        )
        for family in _SINGLE
        for behaviour in behaviours
    ]
    shared = [
        TeacherSpec(name=family, family=family, settings=settings(family))
        for family, trainer in FAMILIES.items()
        if family not in _SINGLE and (sessions or not trainer.uses_sequences)
    ]
    return TeacherSet(teachers=(*singles, *shared))
