"""Hints: a teacher's hidden layer guides the student's trunk at first [FitNets: Romero et al. 2015, arXiv:1412.6550].

A linear regression from the trunk's activations to the teacher's hidden units is trained with the student, and its
error counts during the first epochs: what the teacher found worth knowing has to be somewhere in the trunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from fusion.errors import FusionError
from fusion.teachers.hidden import hidden_layer, last_hidden
from fusion.teachers.structure import BlackBox
from inference.contract.behaviours import Identifier

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset

_LEAST_DEVIATION: Final = 1e-6
"""Of a hidden unit: one that never changes, as a dead ReLU does, is no hint."""


class Hints(BaseModel):
    """What a recipe says about hints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: Identifier | None = Field(
        default=None, description="a network; by default the one with the most weight in the targets"
    )
    epochs: int = Field(default=2, ge=1, description="the first ones, in which the hints count")
    weight: float = Field(default=1.0, gt=0, description="of the regression's error against the loss of the answers")


class HintRegression(nn.Module):
    """From the trunk to a teacher's hidden units.

    Args:
        trunk: units of the student's trunk.
        units: of the teacher's hidden layer.
        hints: how long they count, and how much.
    """

    def __init__(self, trunk: int, units: int, hints: Hints) -> None:
        super().__init__()
        self.regression = nn.Linear(trunk, units)
        self.epochs, self.weight = hints.epochs, hints.weight

    def forward(self, trunk: Tensor, hidden: Tensor) -> Tensor:
        """The mean squared error, weighed; of standardised units, the best constant has 1 before it is weighed."""
        return self.weight * functional.mse_loss(self.regression(trunk), hidden)


def guides(teachers: Sequence[OnnxTeacher], hints: Hints) -> list[OnnxTeacher]:
    """The teachers that may give the hints: the one that is named, or all whose hidden layer can be read.

    Raises:
        FusionError: there is none, and why.
    """
    named = [teacher for teacher in teachers if hints.teacher in (None, teacher.card.name)]
    found = {teacher.card.name: last_hidden(teacher.model) for teacher in named}
    readable = [teacher for teacher in named if not isinstance(found[teacher.card.name], BlackBox)]
    if not readable:
        reasons = [f"{name}: {box.reason}" for name, box in found.items() if isinstance(box, BlackBox)]
        raise FusionError(
            "hints of distil",
            got="; ".join(reasons) or f"no teacher {hints.teacher}",
            expected="a teacher that is a network with a hidden layer, as the families mlp, gru and tcn are",
            fix="Train one, name one with `hints: {teacher: NAME}`, or leave hints out.",
        )
    return readable


def hint(
    teachers: Sequence[OnnxTeacher],
    hints: Hints,
    weights: Mapping[str, Mapping[str, float]],
    dataset: Dataset,
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float32], str]:
    """What the trunk is led towards.

    Args:
        teachers: all of them.
        hints: what the recipe says.
        weights: behaviour → teacher → its weight in the targets.
        dataset: that the teachers fit.
        rows: those to learn from.

    Returns:
        (rows, units) float32, each unit of mean 0 and deviation 1; and what was done, in a sentence.

    Raises:
        FusionError: no teacher can give hints, or nothing in it ever changes.
    """
    total = {name: sum(chosen.get(name, 0.0) for chosen in weights.values()) for name in _names(teachers)}
    teacher = max(guides(teachers, hints), key=lambda guide: total[guide.card.name])
    hidden = hidden_layer(teacher, dataset, rows)
    deviation = hidden.std(axis=0, dtype=np.float64)
    alive = deviation > _LEAST_DEVIATION
    if not alive.any():
        raise FusionError(
            f"hidden layer of teacher {teacher.card.name}",
            got="the same numbers for every row",
            expected="units that tell players apart",
            fix="Name another teacher for the hints of distil, or leave them out.",
        )
    scaled = (hidden[:, alive] - hidden[:, alive].mean(axis=0, dtype=np.float64)) / deviation[alive]
    epochs = "epoch" if hints.epochs == 1 else f"{hints.epochs} epochs"
    said = f"hints: in the first {epochs} the trunk is led towards {alive.sum()} hidden units of {teacher.card.name}"
    return scaled.astype(np.float32), said


def _names(teachers: Sequence[OnnxTeacher]) -> list[str]:
    return [teacher.card.name for teacher in teachers]
