"""Rank of a noisy matrix by analytic variational Bayes [Nakajima, Sugiyama, Babacan, Tomioka, JMLR 14, 2013].

Empirical variational Bayesian matrix factorisation sets every component whose singular value could be noise to zero, in
closed form once the variance of the noise is known; that variance is found by a search in one dimension.

A hint, not a choice: it asks what can be told from noise, not what the network can spare. On small matrices it sees too
few singular values to know the noise; on matrices that are already of low rank there is no noise to see, and it keeps
whatever is left. Compare it with the energy (`fusion.lowrank.allocation`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import minimize_scalar

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TAU: Final = 2.5129
"""Times √(rows / columns): where the free energy of a component turns negative, to a good approximation (eq. 44)."""


def rank_hint(matrix: NDArray[np.float64]) -> int:
    """How many components of a matrix stand out from noise of equal variance; may be 0.

    Args:
        matrix: whitened weights.
    """
    short, long = sorted(matrix.shape)
    squares = np.square(np.linalg.svd(matrix, compute_uv=False))
    if not squares[0] > 0.0:
        return 0
    ratio = short / long
    tau = _TAU * np.sqrt(ratio)
    edge = (1.0 + tau) * (1.0 + ratio / tau)
    # Bounds on the variance (Theorem 4): all is noise, or as little as the components that must be noise allow.
    most = squares.sum() / (short * long)
    first = min(int(np.ceil(short / (1.0 + ratio))) - 1, short - 1)
    least = max(squares[first] / (long * edge), squares[first:].mean() / long)
    variance = most
    if least < most:
        found = minimize_scalar(
            lambda guess: _free_energy(squares / (long * guess), ratio, edge),
            bounds=(max(least, 1e-12 * most), most),
            method="bounded",
            options={"xatol": 1e-8 * most},
        )
        variance = float(found.x)
    return int((squares > long * variance * edge).sum())


def _free_energy(scaled: NDArray[np.float64], ratio: float, edge: float) -> float:
    """The objective of the variance (eq. 42), of squared singular values in units of long side times variance."""
    noise, signal = scaled[scaled <= edge], scaled[scaled > edge]
    shifted = signal - (1.0 + ratio)
    tau = 0.5 * (shifted + np.sqrt(np.square(shifted) - 4.0 * ratio))
    noise = np.maximum(noise, 1e-300)
    return float(
        np.sum(noise - np.log(noise))
        + np.sum(signal - tau)
        + np.sum(np.log((tau + 1.0) / signal))
        + ratio * np.sum(np.log(tau / ratio + 1.0))
    )
