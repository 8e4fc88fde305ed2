"""The recipe: what the pipeline does, in which sizes. A YAML file, or one of the presets."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fusion.training import Schedule
from inference.contract.behaviours import Identifier

Rank = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Part):
    """Sizes of the network before anything is decomposed."""

    bins: int = Field(default=12, ge=1, le=64, description="quantile bins per feature of the encoding")
    hidden: int = Field(default=256, ge=1, description="units of the input layer")
    trunk: int = Field(default=128, ge=1, description="units of the trunk layer")
    behaviour: int = Field(default=16, ge=1, description="units of each behaviour's own layer")


class Tucker(_Part):
    """A core and one factor per mode."""

    form: Literal["tucker"] = "tucker"
    ranks: tuple[Rank | None, ...] = Field(min_length=2, max_length=3, description="one per mode; null keeps it whole")


class Cp(_Part):
    """A sum of rank-one tensors; of a matrix, its truncated singular value decomposition."""

    form: Literal["cp"] = "cp"
    rank: Rank


Form = Annotated[Tucker | Cp, Field(discriminator="form")]


class LowRank(_Part):
    """Form and ranks of each tensor; null keeps it dense."""

    metric: Literal["two_sided", "plain"] = Field(default="two_sided", description="see docs/fusion.md")
    calibration_rows: int = Field(default=8192, ge=64, description="training rows that the metric is measured on")
    input: Form | None = Field(default=Tucker(ranks=(24, 6, 12)), description="modes hidden, bin, feature")
    trunk: Form | None = Field(default=Cp(rank=16), description="modes trunk, hidden")
    layers: Form | None = Field(default=Tucker(ranks=(None, 8, 12)), description="modes behaviour, out, trunk")


class Recipe(_Part):
    """`recipe.yaml`."""

    name: Identifier = Field(default="player_behaviour", description="name of the model that is served")
    version: str = Field(default="1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=0, ge=0)
    training_rows: int = Field(default=250_000, ge=1, description="at most; whole players are left out above it")
    label_share: float = Field(default=0.3, ge=0, le=1, description="weight of known labels against the teachers")
    network: Network = Network()
    distil: Schedule = Schedule(epochs=12, batch_rows=2048)
    lowrank: LowRank = LowRank()
    finetune: Schedule = Schedule(epochs=24, learning_rate=3e-3, batch_rows=2048)


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
    return Recipe(
        training_rows=50_000,
        network=Network(bins=8, hidden=128, trunk=64, behaviour=8),
        distil=Schedule(epochs=6, learning_rate=3e-3),
        lowrank=LowRank(
            input=Tucker(ranks=(16, 5, 8)), trunk=Cp(rank=12), layers=Tucker(ranks=(None, 6, 8)), calibration_rows=4096
        ),
        finetune=Schedule(epochs=10, learning_rate=4e-3),
    )
