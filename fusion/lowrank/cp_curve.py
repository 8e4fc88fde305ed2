"""What every CP rank loses. Of a matrix the spectrum tells; of a higher order only decomposing does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.lowrank import cp
from fusion.lowrank.metric import Metric
from fusion.lowrank.ranks import highest_cp

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SWEEPS: Final = 40
"""Enough to see how much a rank can keep; the rank that is chosen is then worked out in full."""


class CpCurve:
    """The loss of every CP rank of a tensor.

    Args:
        tensor: whitened.
        seed: of the decompositions.
    """

    def __init__(self, tensor: NDArray[np.float64], seed: int) -> None:
        self._tensor, self._seed = tensor, seed
        self.highest = highest_cp(tensor.shape)
        self._known: dict[int, float] = {}
        if tensor.ndim == 2:
            kept = np.cumsum(np.square(np.linalg.svd(tensor, compute_uv=False)))
            self._known = {rank: max(0.0, 1.0 - k / kept[-1]) for rank, k in enumerate(kept, start=1) if kept[-1]}

    def lost(self, rank: int) -> float:
        """Share of the squared norm that a CP form of this rank loses.

        Of order three and above it is measured at a few ranks and drawn straight between them.
        """
        if self._tensor.ndim == 2:
            return self._known.get(rank, 0.0)
        low, high = _around(rank, self.highest)
        before, after = self._measured(low), self._measured(high)
        return before if low == high else before + (after - before) * (rank - low) / (high - low)

    def _measured(self, rank: int) -> float:
        if rank not in self._known:
            metric = Metric.plain(self._tensor.ndim)
            try:
                found = cp.decompose(self._tensor, rank, metric, self._seed, sweeps=_SWEEPS)
                lost = metric.error(self._tensor, found.to_tensor()) ** 2
            except np.linalg.LinAlgError:
                # More components than the tensor has: alternating least squares cannot tell them apart.
                lost = self._measured(_around(rank - 1, self.highest)[0]) if rank > 1 else 0.0
            # More components never lose more; alternating least squares alone cannot promise it.
            below = [value for known, value in self._known.items() if known < rank]
            self._known[rank] = min([lost, *below])
        return self._known[rank]


def _around(rank: int, highest: int) -> tuple[int, int]:
    """The nearest ranks out of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... and the highest."""
    grid = sorted({min(highest, base << power) for power in range(highest.bit_length()) for base in (1, 2, 3)})
    return max(g for g in grid if g <= rank), min(g for g in grid if g >= rank)
