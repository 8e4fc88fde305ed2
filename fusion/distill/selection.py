"""Ensemble selection from a library of models [Caruana et al. 2004, doi:10.1145/1015330.1015432].

Which teachers to listen to, behaviour by behaviour: start from the best, then add, with replacement, whichever teacher
improves the average most on players that none of them was trained on. Done several times, on half of the players each
time, and averaged (section 2.3 of the paper): with few players, who is best is half luck.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.evaluate import quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.contract.behaviours import Behaviour

BAGS: Final = 10
"""Times that half of the players are drawn."""
ROUNDS: Final = 12
"""Teachers drawn at most for one half."""


def select_weights(
    links: NDArray[np.float32],
    labels: NDArray[np.float32],
    player: NDArray[np.generic],
    behaviour: Behaviour,
    *,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Weights of an average of teachers of high quality.

    Args:
        links: (teachers, rows) predictions for validation players, link scale.
        labels: (rows,) served scale, NaN where censored.
        player: (rows,) whose row it is; all of a player's rows are drawn or none.
        behaviour: what is predicted.
        seed: of the halves.

    Returns:
        (teachers,) non-negative, summing to 1. Equal weights where no quality is defined.
    """
    players, index = np.unique(player, return_inverse=True)
    draw = np.random.default_rng(seed)
    weights = []
    for _ in range(BAGS):
        drawn = draw.permutation(len(players)) < -(-len(players) // 2)
        half = drawn[index]
        weights.append(_select(links[:, half], labels[half], behaviour))
    return np.asarray(np.mean(weights, axis=0))


def _select(links: NDArray[np.float32], labels: NDArray[np.float32], behaviour: Behaviour) -> NDArray[np.float64]:
    teachers = len(links)
    total = np.zeros(links.shape[1], dtype=np.float64)
    counts = np.zeros(teachers)
    best = -np.inf
    for drawn in range(1, ROUNDS + 1):
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
