"""Chooses neurons out of several networks so that they stand for all [interpolative decomposition: Cheng, Gimbutas,
Martinsson, Rokhlin 2005; of hidden units: Chee, Flynn, Damle, De Sa 2022, arXiv:2111.00034].

Activations A (rows, neurons) of all networks on the same rows are nearly of low rank: A ≈ A[:, chosen] P. Pivoted QR
finds columns that the others are mixtures of, so the chosen are neurons, not mixtures, and what read the others reads
them by P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.linalg import qr

from fusion.errors import FusionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RIDGE: Final = 1e-8
"""Share of the mean square of the chosen neurons: what they cannot tell apart must not blow up."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Neurons that stand for all.

    Attributes:
        chosen: (count,) columns of the activations, the most telling first.
        mixing: (count, neurons), P: all neurons as mixtures of the chosen.
    """

    chosen: NDArray[np.int64]
    mixing: NDArray[np.float64]


def select(activations: NDArray[np.float64], count: int, weights: NDArray[np.float64] | None = None) -> Selection:
    """Choose neurons.

    Args:
        activations: (rows, neurons) of all networks side by side.
        count: how many; at most the neurons.
        weights: (neurons,) how much an error in each matters, say the norm of what reads it; all alike where left out.

    Raises:
        FusionError: there are not so many neurons.
    """
    neurons = activations.shape[1]
    if not 1 <= count <= neurons:
        raise FusionError("neurons to select", got=count, expected=f"1 to {neurons}: those that there are")
    weighed = activations if weights is None else activations * weights
    chosen = qr(weighed, mode="r", pivoting=True)[1][:count].astype(np.int64)
    basis = activations[:, chosen]
    gram = basis.T @ basis
    gram += _RIDGE * max(float(np.trace(gram)) / count, 1e-300) * np.eye(count)
    mixing = np.asarray(np.linalg.solve(gram, basis.T @ activations), dtype=np.float64)
    mixing[:, chosen] = np.eye(count)
    return Selection(chosen, mixing)
