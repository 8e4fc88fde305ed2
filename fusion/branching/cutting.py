"""Cuts a dense network between neurons of different owners, and solves what remains anew, level by level.

What a neuron should sum up is what it did; what it may still read has to make up for what it may not, and for what the
levels before lack by now. That is linear least squares in its weights, one system for all neurons of an owner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fusion.branching.columnwise import compute
from fusion.branching.ownership import NOBODY, SHARED, Owners, allowed, assign
from fusion.branching.reading import DenseNetwork, Level
from fusion.branching.trace import answered
from fusion.lowrank.refit import damped, shrunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.branching.trace import Trace

_THRESHOLDS: Final = (0.0, *np.geomspace(1e-8, 1.0, 97).tolist())
"""Of what a neuron may cost a behaviour: a dozen per decade, because what all cost together grows fast."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A network cut between owners.

    Attributes:
        network: of the same size, zero where it was cut.
        owners: of all neurons.
        most_lost: what a single neuron was allowed to cost, to first order.
        lost: (behaviours,) what all cuts cost together, measured, as a share of the variance of each link.
    """

    network: DenseNetwork
    owners: Owners
    most_lost: float
    lost: NDArray[np.float64]


def cut_within(network: DenseNetwork, seen: Trace, tolerance: float) -> Cut:
    """Make as many neurons private as can be.

    Args:
        network: to cut.
        seen: of the network, on calibration rows.
        tolerance: share of the variance of any behaviour's link that may be lost on those rows, after the refit; 0
            cuts only what nobody needs.
    """
    best = _cut(network, seen, _THRESHOLDS[0])
    low, high = 0, len(_THRESHOLDS) if tolerance > 0 else 1
    while high - low > 1:
        middle = (low + high) // 2
        found = _cut(network, seen, _THRESHOLDS[middle])
        if found.lost.max() <= tolerance:
            low, best = middle, found
        else:
            high = middle
    return best


def _cut(network: DenseNetwork, seen: Trace, most_lost: float) -> Cut:
    owners = assign(network, seen, most_lost)
    now, below = seen.inputs[0], np.full(seen.inputs[0].shape[1], SHARED)
    levels = []
    for level, own, before in zip(network.levels, owners, seen.inputs, strict=True):
        levels.append(_refitted(level, own, below, before, now))
        total = now @ levels[-1].weight.T + levels[-1].bias
        now, below = compute(level.after, torch.from_numpy(total)).numpy(), own
    links = answered(network, torch.from_numpy(now)).numpy()
    return Cut(replace(network, levels=tuple(levels)), owners, most_lost, seen.lost(links))


def _refitted(
    level: Level,
    own: NDArray[np.int64],
    below: NDArray[np.int64],
    before: NDArray[np.float64],
    now: NDArray[np.float64],
) -> Level:
    """A level that reads only what it may, and sums up as much as possible what it did.

    Args:
        level: as it was.
        own: (units,) owners of its units.
        below: (inputs,) owners of what it reads.
        before: (rows, inputs) what it used to read.
        now: (rows, inputs) what stands there now.
    """
    centred = now - now.mean(axis=0)
    covariance = centred.T @ centred / len(now)
    excess = (before - before.mean(axis=0)).T @ centred / len(now) - covariance
    metric = shrunk(covariance)
    weight = np.zeros_like(level.weight)
    for owner in np.unique(own[own != NOBODY]):
        rows = np.flatnonzero(own == owner)
        reads = allowed(np.array([owner]), below)[0]
        kept, gone = np.flatnonzero(reads), np.flatnonzero(~reads)
        if not len(kept):
            continue
        # As a correction of what is kept, so that nothing moves where nothing was lost.
        missed = (
            level.weight[np.ix_(rows, gone)] @ covariance[np.ix_(gone, kept)] + level.weight[rows] @ excess[:, kept]
        )
        weight[np.ix_(rows, kept)] = level.weight[np.ix_(rows, kept)] + damped(metric[np.ix_(kept, kept)], missed.T).T
    bias = level.bias + level.weight @ before.mean(axis=0) - weight @ now.mean(axis=0)
    return Level(weight, bias, level.after)
