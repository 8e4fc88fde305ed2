"""Tucker form [Tucker, 1966]: a small core, multiplied along each mode by a factor matrix.

Some modes may stay whole: keeping the behaviour mode of `(behaviour, out, in)` gives Tucker-2, W_m = U G_m Vᵀ, where
every behaviour has its own core and all share U and V.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tensorly.decomposition import partial_tucker
from tensorly.tenalg import multi_mode_dot

from fusion.errors import FusionError
from fusion.lowrank.ranks import highest_tucker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.lowrank.metric import Metric


@dataclass(frozen=True, slots=True)
class Tucker:
    """A decomposed tensor.

    Attributes:
        core: one axis per mode; as long as the mode's rank, or as the mode itself where it stays whole.
        factors: per mode, (size, rank); None where the mode stays whole.
    """

    core: NDArray[np.float64]
    factors: tuple[NDArray[np.float64] | None, ...]

    def to_tensor(self) -> NDArray[np.float64]:
        """The tensor that the core and the factors stand for."""
        modes = [mode for mode, factor in enumerate(self.factors) if factor is not None]
        matrices = [factor for factor in self.factors if factor is not None]
        return np.asarray(multi_mode_dot(self.core, matrices, modes=modes)) if modes else self.core

    def balanced(self) -> Tucker:
        """The same tensor from parts of equal root mean square: every factor column alike, core and factors alike.

        Trained from unbalanced parts, the large one hardly moves and the small one runs away.
        """
        core, factors = self.core, list(self.factors)
        for mode, factor in enumerate(factors):
            if factor is None:
                continue
            norms = np.linalg.norm(factor, axis=0)
            norms[norms == 0.0] = 1.0
            factors[mode] = factor / norms
            core = np.moveaxis(np.moveaxis(core, mode, -1) * norms, -1, mode)
        parts = [core, *(factor for factor in factors if factor is not None)]
        sizes = [_rms(part) for part in parts]
        if min(sizes) == 0.0:
            return Tucker(core, tuple(factors))
        target = float(np.exp(np.mean(np.log(sizes))))
        scaled = [None if factor is None else factor * (target / _rms(factor)) for factor in factors]
        return Tucker(core * (target / _rms(core)), tuple(scaled))


def decompose(tensor: NDArray[np.float64], ranks: Sequence[int | None], metric: Metric) -> Tucker:
    """The Tucker form of `tensor` with the least error in `metric`, by higher-order orthogonal iteration.

    Args:
        tensor: any order.
        ranks: per mode, at least 1, at most its size and the product of the other ranks; None leaves the mode whole.
            Fractions are no ranks: they would squeeze every mode.
        metric: roots for the decomposed modes.

    Raises:
        FusionError: a rank is out of range.
    """
    if len(ranks) != tensor.ndim:
        raise FusionError(
            "Tucker ranks", got=f"{len(ranks)} ranks", expected=f"one for each of the {tensor.ndim} modes"
        )
    for mode, rank in enumerate(ranks):
        highest = highest_tucker(ranks, tensor.shape, mode)
        if rank is not None and not 1 <= rank <= highest:
            raise FusionError(
                f"Tucker rank of mode {mode}",
                got=rank,
                expected=f"1 to {highest}: at most the size of the mode and the product of the other ranks",
            )
    modes = [mode for mode, rank in enumerate(ranks) if rank is not None]
    wanted = [rank for rank in ranks if rank is not None]
    factors: list[NDArray[np.float64] | None] = [None] * tensor.ndim
    whitened = metric.whiten(np.asarray(tensor, dtype=np.float64))
    if not modes:
        return Tucker(np.asarray(tensor, dtype=np.float64), tuple(factors))
    (core, bases), _ = partial_tucker(whitened, rank=wanted, modes=modes, init="svd", tol=1e-8)
    for mode, basis in zip(modes, bases, strict=True):
        factors[mode] = metric.unwhiten(np.asarray(basis), mode)
    return Tucker(np.asarray(core), tuple(factors))


def _rms(array: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(array))))
