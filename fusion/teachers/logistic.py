"""Logistic regression over the standardised features (Cox, J. R. Stat. Soc. B 1958); linear for amounts."""

from __future__ import annotations

from typing import Final

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from fusion.teachers.network import NetworkSettings, NetworkTrainer


class LogisticSettings(NetworkSettings):
    """Settings of a linear teacher: no hidden layer."""

    hidden: tuple[()] = ()
    epochs: PositiveInt = 6
    learning_rate: PositiveFloat = 1e-2
    weight_decay: NonNegativeFloat = 1e-5


TRAINER: Final = NetworkTrainer(LogisticSettings)
