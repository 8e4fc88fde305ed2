"""Multi-layer perceptron over the features (Rumelhart, Hinton and Williams, Nature 1986)."""

from __future__ import annotations

from typing import Final

from pydantic import Field, PositiveInt

from fusion.teachers.network import NetworkSettings, NetworkTrainer


class MlpSettings(NetworkSettings):
    """Settings of an MLP."""

    hidden: tuple[PositiveInt, ...] = (256, 256)
    epochs: PositiveInt = 10
    dropout: float = Field(default=0.1, ge=0, lt=1)


TRAINER: Final = NetworkTrainer(MlpSettings)
