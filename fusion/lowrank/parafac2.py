"""PARAFAC2 [Harshman 1972; Kiers, ten Berge, Bro 1999]: layers of one kind of input, and of different widths.

W_m = P_m B diag(a_m) Cᵀ, P_m (out_m, rank) with orthonormal columns: all models read the same directions C in their own
measure a_m, and write them to as many units as they like. Embedding tables of different vocabularies stack likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from tensorly.decomposition import parafac2

from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.lowrank.metric import Metric

_SWEEPS: Final = 100


@dataclass(frozen=True, slots=True)
class Parafac2:
    """Decomposed matrices of different heights.

    Attributes:
        rows: per model, P_m B (out_m, rank).
        scales: (models, rank).
        columns: (in, rank).
    """

    rows: tuple[NDArray[np.float64], ...]
    scales: NDArray[np.float64]
    columns: NDArray[np.float64]

    @property
    def numbers(self) -> int:
        """How many are stored."""
        return sum(rows.size for rows in self.rows) + self.scales.size + self.columns.size

    def to_matrices(self) -> tuple[NDArray[np.float64], ...]:
        """(out_m, in) of every model."""
        return tuple((rows * scale) @ self.columns.T for rows, scale in zip(self.rows, self.scales, strict=True))


def decompose(
    matrices: Sequence[NDArray[np.float64]], rank: int, metric: Metric, seed: int = 0, *, starts: int = 2
) -> Parafac2:
    """The PARAFAC2 form with the least error in a metric of the inputs, by alternating least squares.

    Args:
        matrices: (out_m, in) each.
        rank: at most the inputs and the least out_m.
        metric: one root, of the inputs.
        seed: of the starts that are not the singular vectors.
        starts: how many to try: alternating least squares stops in the nearest hollow.

    Raises:
        FusionError: the rank is out of range.
    """
    highest = min(min(matrix.shape) for matrix in matrices)
    if not 1 <= rank <= highest:
        raise FusionError("PARAFAC2 rank", got=rank, expected=f"1 to {highest}: what the narrowest layer can have")
    (root,) = metric.roots
    whitened = [np.asarray(matrix if root is None else matrix @ root, dtype=np.float64) for matrix in matrices]
    found = [_fit(whitened, rank, "svd" if start == 0 else "random", seed + start) for start in range(starts)]
    best = min(found, key=lambda form: _squared_error(whitened, form))
    return Parafac2(best.rows, best.scales, metric.unwhiten(best.columns, 0))


def _fit(matrices: list[NDArray[np.float64]], rank: int, init: str, seed: int) -> Parafac2:
    # An error of nothing may be rounded below zero, and TensorLy takes its root.
    with np.errstate(invalid="ignore"):
        weights, factors, projections = parafac2(
            matrices, rank, init=init, n_iter_max=_SWEEPS, tol=1e-10, random_state=seed
        )
    scales, shared, columns = (np.asarray(factor) for factor in factors)
    rows = tuple(np.asarray(projection) @ shared for projection in projections)
    return Parafac2(rows, scales * np.asarray(weights), columns)


def _squared_error(matrices: list[NDArray[np.float64]], form: Parafac2) -> float:
    pairs = zip(matrices, form.to_matrices(), strict=True)
    return sum(float(np.square(matrix - found).sum()) for matrix, found in pairs)
