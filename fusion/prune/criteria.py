"""What a weight or a unit is worth. Removing the least worthy first is all that pruning methods differ in.

- magnitude: the size of its numbers [Han et al. 2015, arXiv:1506.02626]; no data needed.
- taylor: how much the loss changes to first order when it is removed [Molchanov et al. 2019, arXiv:1906.10771].
- activation: how much of a signal passes through it [Hu et al. 2016, arXiv:1607.03250; of single weights: Sun et al.
  2023, arXiv:2306.11695].
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion.distill.student import Student
from fusion.training import MaskedLoss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from fusion.prune.unit import Place, Units
    from fusion.steps.step import Work
    from fusion.training import ExamplesT, Learner
    from fusion.weight import Weight

_BATCH_ROWS = 512


class Criterion(StrEnum):
    """How worth is judged."""

    MAGNITUDE = "magnitude"
    TAYLOR = "taylor"
    ACTIVATION = "activation"


def weight_scores(work: Work, weights: Sequence[Weight], criterion: Criterion, rows: int) -> list[NDArray[np.float64]]:
    """Worth of every single number of some arrays, each in the shape of its array.

    Args:
        work: network and calibration rows.
        weights: arrays to judge.
        criterion: magnitude or taylor.
        rows: calibration rows.
    """
    if criterion is Criterion.MAGNITUDE:
        return [np.abs(weight.numpy().astype(np.float64)) for weight in weights]
    scores = [np.zeros(tuple(weight.array.shape)) for weight in weights]
    for _ in _gradients(work, rows):
        for score, weight in zip(scores, weights, strict=True):
            score += _product(weight).double().numpy() ** 2
    return scores


def unit_scores(work: Work, groups: Sequence[Units], criterion: Criterion, rows: int) -> list[NDArray[np.float64]]:
    """Worth of every unit of some groups, (units,) each; by activation only of neurons and features."""
    if criterion is Criterion.MAGNITUDE:
        return [unit_norms(units) for units in groups]
    if criterion is Criterion.ACTIVATION:
        return _signals(work, groups, rows)
    return unit_changes(groups, _gradients(work, rows))


def unit_changes(groups: Sequence[Units], gradients: Iterator[None]) -> list[NDArray[np.float64]]:
    """By Taylor, (units,) each: the squared change of the loss without a unit, to first order, over batches of rows.

    Args:
        groups: of units.
        gradients: puts those of one batch after the other into the arrays' `.grad`.
    """
    scores = [np.zeros(units.count) for units in groups]
    for _ in gradients:
        for score, units in zip(scores, groups, strict=True):
            # By a gate that multiplies the unit, the loss changes as the sum over its slices of weight · gradient.
            change = sum(_sum_but(_product(weight), axis).double().numpy() for weight, axis in units.gate)
            score += change**2
    return scores


def _gradients(work: Work, rows: int) -> Iterator[None]:
    loss = MaskedLoss(work.behaviours, work.training.targets)
    return loss_gradients(Student(work.network), work.calibration(rows), loss)


def loss_gradients(learner: Learner[ExamplesT], sample: ExamplesT, loss: MaskedLoss) -> Iterator[None]:
    """The gradient of a loss on one batch of a sample after the other, in the arrays' `.grad`."""
    learner.eval()
    for batch in sample.batches(_BATCH_ROWS, shuffle=False):
        learner.zero_grad(set_to_none=True)
        loss(learner(batch), batch.targets).backward()  # type: ignore[no-untyped-call, unused-ignore]
        yield
    learner.zero_grad(set_to_none=True)


def _product(weight: Weight) -> Tensor:
    gradient = weight.array.grad
    if gradient is None:
        return torch.zeros_like(weight.array)
    return (weight.array * gradient).detach()


def _sum_but(values: Tensor, axis: int) -> Tensor:
    """Summed over all axes but one."""
    return values.movedim(axis, 0).flatten(1).sum(dim=1)


def unit_norms(units: Units) -> NDArray[np.float64]:
    """By magnitude: the product over a unit's places of their norms, for nothing passes where one of them is zero."""
    score = np.ones(units.count)
    for place in units.places:
        score *= _norm(place, units.count)
    return score


def _norm(place: Place, count: int) -> NDArray[np.float64]:
    """(units,) of all slices of a unit at one place."""
    squares = np.zeros(count)
    for weight, axis in place:
        array = np.moveaxis(weight.numpy().astype(np.float64), axis, 0).reshape(count, -1)
        squares += np.square(array).sum(axis=1)
    return np.asarray(np.sqrt(squares))


def _signals(work: Work, groups: Sequence[Units], rows: int) -> list[NDArray[np.float64]]:
    """Per unit: the root mean square of what it puts out, times the norm of what reads it."""
    reads = work.network.signals(work.calibration(rows).features)
    return [reads[units.name] * _norm(units.gate, units.count) for units in groups]
