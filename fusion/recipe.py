"""The recipe: what the pipeline does, in which sizes. A YAML file, or one of the presets."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fusion.keep_private import KeepPrivate
from fusion.steps.decompose import Cp, Decompose, Tucker
from fusion.steps.distil import Distil, Finetune
from fusion.steps.registry import AnySpec, check_order
from inference.contract.behaviours import Identifier


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Part):
    """Sizes of the network before anything is decomposed."""

    bins: int = Field(default=12, ge=1, le=64, description="quantile bins per feature of the encoding")
    hidden: int = Field(default=144, ge=1, description="units of the input layer")
    trunk: int = Field(default=80, ge=1, description="units of the trunk layer")
    behaviour: int = Field(default=8, ge=1, description="units of each behaviour's own layer")
    start: Literal["random", "teachers"] = Field(
        default="random", description="what it starts from: random numbers, or the mlp teachers' most telling neurons"
    )


class Recipe(_Part):
    """`recipe.yaml`."""

    name: Identifier = Field(default="player_behaviour", description="name of the model that is served")
    version: str = Field(default="1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    training_rows: int = Field(default=250_000, ge=1, description="at most; whole players are left out above it")
    least_training_rows: int = Field(
        default=150_000,
        ge=0,
        description="fewer are filled up with pseudo rows that the teachers answer, 5 per real one at most",
    )
    label_share: float = Field(default=0.3, ge=0, le=1, description="weight of known labels against the teachers")
    network: Network = Network()
    steps: tuple[AnySpec, ...] = Field(
        default=(
            Distil(epochs=12),
            Decompose(),
            Finetune(epochs=48, learning_rate=5e-3, patience_epochs=10),
        ),
        description="in their order; docs/fusion.md tells which may follow which",
    )
    keep_private: KeepPrivate | None = Field(
        default=None, description="what loses more than a tolerance keeps its best teacher as a branch; by default none"
    )

    @field_validator("steps")
    @classmethod
    def _in_order(cls, steps: tuple[AnySpec, ...]) -> tuple[AnySpec, ...]:
        check_order([spec.step for spec in steps])
        return steps


class Preset(StrEnum):
    """Recipes that come with playfuse."""

    FULL = "full"
    """What the published figures were reached with."""
    DEMO = "demo"
    """The same pipeline in a fraction of the time."""


def preset(which: Preset) -> Recipe:
    """One of the recipes that come with playfuse."""
    if which is Preset.FULL:
        return Recipe()
    small = Decompose(
        input=Tucker(ranks=(16, 5, 8)), trunk=Cp(rank=12), layers=Tucker(ranks=(None, 6, 8)), calibration_rows=4096
    )
    return Recipe(
        training_rows=50_000,
        least_training_rows=0,
        network=Network(bins=8, hidden=128, trunk=64, behaviour=8),
        steps=(Distil(epochs=6, learning_rate=3e-3), small, Finetune(epochs=10, learning_rate=4e-3)),
    )
