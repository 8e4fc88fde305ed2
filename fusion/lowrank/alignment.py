"""Permutes hidden units so that networks of one architecture can be compared [weight matching of Git Re-Basin:
Ainsworth et al. 2023, arXiv:2209.04836].

The hidden units of a network have no order of their own. Layer by layer, a linear assignment finds the order of a
tower's units that is most like a reference's, given the orders of its neighbours; sweeps repeat it until nothing moves.
An option, not a duty: under a two-sided metric it has not been seen to help towers that were trained apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import linear_sum_assignment

from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SWEEPS: Final = 50


@dataclass(frozen=True, slots=True)
class Tower:
    """A network of ReLU layers.

    Attributes:
        weights: (out, in) of every layer, from the inputs to the links.
        biases: (out,) likewise.
    """

    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]

    def permuted(self, layer: int, order: NDArray[np.int64]) -> Tower:
        """The same function with the units of a hidden layer in another order."""
        weights, biases = list(self.weights), list(self.biases)
        weights[layer], biases[layer] = weights[layer][order], biases[layer][order]
        weights[layer + 1] = weights[layer + 1][:, order]
        return Tower(tuple(weights), tuple(biases))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the weights."""
        return tuple(weight.shape for weight in self.weights)


def aligned(towers: Sequence[Tower]) -> tuple[Tower, ...]:
    """All towers with their hidden units in the order that is most like the first one's.

    Raises:
        FusionError: a tower has another architecture than the first.
    """
    reference, *others = towers
    check_alike(towers)
    return (reference, *(_aligned(tower, reference) for tower in others))


def check_alike(towers: Sequence[Tower]) -> None:
    """Check that all towers have the first one's architecture.

    Raises:
        FusionError: one has not.
    """
    for number, tower in enumerate(towers):
        if tower.shapes != towers[0].shapes:
            raise FusionError(
                f"tower {number} of stacked models",
                got=f"weights of shapes {tower.shapes}",
                expected=f"{towers[0].shapes}, as the first one's",
                fix="Layers of different widths go by PARAFAC2 or stay private.",
            )


def _aligned(tower: Tower, reference: Tower) -> Tower:
    for sweep in range(_SWEEPS):
        moved = False
        for layer in range(len(tower.weights) - 1):
            likeness = reference.weights[layer] @ tower.weights[layer].T
            likeness += np.outer(reference.biases[layer], tower.biases[layer])
            # At first the next layer's order says nothing; that of the inputs is known, and so on forwards.
            if sweep:
                likeness += reference.weights[layer + 1].T @ tower.weights[layer + 1]
            order = linear_sum_assignment(likeness, maximize=True)[1]
            if likeness[np.arange(len(order)), order].sum() > np.trace(likeness) * (1 + 1e-12) + 1e-12:
                tower, moved = tower.permuted(layer, order), True
        if sweep and not moved:
            break
    return tower
