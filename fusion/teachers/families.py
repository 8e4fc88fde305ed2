"""The registry of teacher families."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fusion.teachers import boosted, gru, logistic, mlp, tcn
from fusion.teachers.teacher import AnyTrainer

FAMILIES: Final[Mapping[str, AnyTrainer]] = MappingProxyType(
    {
        "boosted": boosted.TRAINER,
        "gru": gru.TRAINER,
        "tcn": tcn.TRAINER,
        "mlp": mlp.TRAINER,
        "logistic": logistic.TRAINER,
    }
)

IMPORTED: Final = "imported"
"""Family of teachers that a studio brings: nobody here can train them again, or knows what they were trained on."""
