"""Ensemble selection from a library of models [Caruana et al. 2004, doi:10.1145/1015330.1015432].

Which teachers to listen to, behaviour by behaviour: start from the best, then add, with replacement, whichever teacher
improves the average most on players that none of them was trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.evaluate import quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.contract.behaviours import Behaviour

ROUNDS: Final = 12
"""Teachers drawn at most; weights are multiples of one over the number drawn."""


def select_weights(
    links: NDArray[np.float32], labels: NDArray[np.float32], behaviour: Behaviour, *, rounds: int = ROUNDS
) -> NDArray[np.float64]:
    """Weights of the average of teachers with the highest quality.

    Args:
        links: (teachers, rows) predictions for validation players, link scale.
        labels: (rows,) served scale, NaN where censored.
        behaviour: what is predicted.
        rounds: teachers drawn at most.

    Returns:
        (teachers,) non-negative, summing to 1. Equal weights where no quality is defined.
    """
    teachers = len(links)
    total = np.zeros(links.shape[1], dtype=np.float64)
    counts = np.zeros(teachers)
    best = -np.inf
    for drawn in range(1, rounds + 1):
        scores = [quality((total + candidate) / drawn, labels, behaviour) for candidate in links]
        if not np.isfinite(scores).any():
            return np.full(teachers, 1.0 / teachers)
        winner = int(np.nanargmax(scores))
        if scores[winner] <= best:
            break
        best = scores[winner]
        total += links[winner]
        counts[winner] += 1
    return np.asarray(counts / counts.sum())
