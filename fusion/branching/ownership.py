"""Which behaviours need a neuron: several share it, one has it alone, or nobody needs it.

A behaviour needs a neuron where it loses more without it than a threshold. What it loses is judged as in optimal brain
damage [LeCun et al. 1989]: the mean squared change of its link, to first order, when the neuron keeps its mean instead
of what it puts out; in units of the link's variance, so 1 is all that there is to lose. Levels are judged from the
behaviours down, because what a neuron is good for depends on who still reads it: shared neurons may not read one that
is a behaviour's own, so what reaches that behaviour through them is lost too.

Taking networks apart by what each output needs: Pan and Rajan, ESEC/FSE 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.branching.reading import DenseNetwork
    from fusion.branching.trace import Trace

SHARED: Final = -1
"""Owner of a neuron that several behaviours need; a number from 0 is the one behaviour that does."""
NOBODY: Final = -2
"""Owner of a neuron that no behaviour needs."""

_NOTHING: Final = 1e-12
"""Share of a variance that counts as none: a millionth of a standard deviation."""

Owners = tuple["NDArray[np.int64]", ...]
"""Per level, (units,): `SHARED`, `NOBODY` or the number of a behaviour; of the last level, 0, 1, 2, ..."""


def assign(network: DenseNetwork, seen: Trace, most_lost: float) -> Owners:
    """Find an owner for every neuron.

    Args:
        network: to take apart.
        seen: of the network, on calibration rows.
        most_lost: share of a link's variance that a behaviour may lose by one neuron without needing it; 0 where none
            may lose anything.
    """
    owners = [np.arange(len(network.answers))]
    for level in range(len(network.levels) - 1, 0, -1):
        signal = seen.inputs[level] - seen.inputs[level].mean(axis=0)
        found = _readers_needs(network.levels[level].weight, owners[0], signal, seen.gradients[level])
        owners.insert(0, _owners(*found, network.levels[level].weight, owners[0], most_lost))
    return tuple(owners)


def allowed(readers: NDArray[np.int64], read: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(readers, read) whether one unit may read another: shared ones by all, private ones by their own kind."""
    mine = (read == SHARED) | (read == readers[:, None])
    return np.asarray(mine & (read != NOBODY) & (readers[:, None] != NOBODY))


def _readers_needs(
    weight: NDArray[np.float64],
    readers: NDArray[np.int64],
    signal: NDArray[np.float64],
    gradients: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(behaviours, units) what each loses without a unit, and what it loses without the shared readers of the unit."""
    shared = readers == SHARED
    whole, by_shared = (np.zeros((len(gradients), weight.shape[1])) for _ in range(2))
    for behaviour, gradient in enumerate(gradients):
        own = readers == behaviour
        slope = gradient[:, shared] @ weight[shared]
        by_shared[behaviour] = ((signal * slope) ** 2).mean(axis=0)
        slope = slope + gradient[:, own] @ weight[own]
        whole[behaviour] = ((signal * slope) ** 2).mean(axis=0)
    return whole, by_shared


def _owners(
    whole: NDArray[np.float64],
    by_shared: NDArray[np.float64],
    weight: NDArray[np.float64],
    readers: NDArray[np.int64],
    most_lost: float,
) -> NDArray[np.int64]:
    """(units,) the behaviour that alone needs a unit, where it reads it itself and can do without shared readers."""
    needed = whole > max(most_lost, _NOTHING)
    reads = np.stack([(weight[readers == behaviour] != 0).any(axis=0) for behaviour in range(len(whole))])
    alone = needed & reads & (by_shared <= most_lost)
    several = np.where((needed.sum(axis=0) == 1) & alone.any(axis=0), alone.argmax(axis=0), SHARED)
    return np.where(needed.any(axis=0), several, NOBODY)
