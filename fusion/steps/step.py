"""What a step is: data that a recipe holds, and a function that changes the network by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fusion.branch import Branch
    from fusion.distill.student import Rows
    from fusion.network import FusedNetwork
    from inference.contract.behaviours import Behaviour

Told = Callable[[float, str], None]
"""Told how far a step has come, from 0 to 1, and a word about it."""


class Family(StrEnum):
    """What a step does, in the words of the field."""

    DISTILLATION = "distillation"
    LOW_RANK = "low rank"
    PRUNING = "pruning"
    QUANTIZATION = "quantization"


class StepSpec(BaseModel):
    """What a recipe says about one step."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(slots=True)
class Work:
    """What steps work on. A step may replace the network's layers, and drop features it reads no more.

    Attributes:
        network: changed in place.
        columns: (features,) of the dataset's features, those that the network reads.
        behaviours: what it predicts.
        training: rows to learn from, columns as the network reads them.
        validation: rows of other players.
        seed: of whatever is drawn.
        decisions: what was chosen before the first step, and why.
        branches: teachers that answer for some behaviours in the network's place; chosen after the last step.
    """

    network: FusedNetwork
    columns: NDArray[np.int64]
    behaviours: tuple[Behaviour, ...]
    training: Rows
    validation: Rows
    seed: int
    decisions: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()

    def parameters_by_part(self) -> dict[str, int]:
        """Name of each part of the graph → numbers it stores."""
        own = {branch.part: branch.teacher.card.parameters for branch in self.branches}
        return self.network.parameters_by_layer() | own

    @property
    def parameter_count(self) -> int:
        """Numbers that the graph stores, those of the branches included."""
        return sum(self.parameters_by_part().values())

    def calibration(self, rows: int) -> Rows:
        """At most about so many training rows, evenly spread."""
        return self.training.take(slice(None, None, max(1, len(self.training) // rows)))

    def keep_features(self, index: NDArray[np.int64]) -> None:
        """Go on with some of the features: columns of the rows."""
        chosen = torch.from_numpy(index)
        self.columns = self.columns[index]
        self.training, self.validation = (
            replace(rows, features=rows.features[:, chosen]) for rows in (self.training, self.validation)
        )


SpecT = TypeVar("SpecT", bound=StepSpec)


@dataclass(frozen=True, slots=True)
class Step(Generic[SpecT]):
    """A kind of step.

    Attributes:
        name: as recipes call it.
        family: what it does.
        spec: what a recipe can say about it.
        follows: names of the steps that may stand somewhere before it.
        precedes: names of the steps that may stand somewhere after it.
        run: does it; returns what was decided and why, in sentences.
    """

    name: str
    family: Family
    spec: type[SpecT]
    follows: frozenset[str]
    precedes: frozenset[str]
    run: Callable[[SpecT, Work, Told], list[str]]


AnyStep = Step[Any]
"""A step whose spec was checked against its own `spec` type."""
