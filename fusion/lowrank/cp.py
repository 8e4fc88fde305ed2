"""CP form [Hitchcock, 1927; Carroll & Chang, 1970; Harshman, 1970]: a sum of rank-one tensors.

Of a matrix it is the truncated singular value decomposition. Of stacked layers `(behaviour, out, in)` it is
W_m = U diag(c_m) Vᵀ, where one more behaviour costs `rank` numbers.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from tensorly.cp_tensor import cp_to_tensor
from tensorly.decomposition import parafac
from tensorly.tenalg import svd_interface

from fusion.errors import FusionError
from fusion.lowrank.form import MODES
from fusion.lowrank.ranks import highest_cp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fusion.lowrank.metric import Metric

SWEEPS: Final = 200


@dataclass(frozen=True, slots=True)
class Cp:
    """A decomposed tensor.

    Attributes:
        factors: per mode, (size, rank).
    """

    factors: tuple[NDArray[np.float64], ...]

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """One factor per mode."""
        return {f"factor{mode}": factor for mode, factor in enumerate(self.factors)}

    @property
    def subscripts(self) -> dict[str, str]:
        """Every factor has its mode and the component."""
        return {f"factor{mode}": f"{MODES[mode]}r" for mode in range(len(self.factors))}

    @property
    def components(self) -> dict[str, str]:
        """One letter that all factors share."""
        return {"r": "components"}

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> Cp:
        """A CP form of other factors."""
        return Cp(tuple(arrays[f"factor{mode}"] for mode in range(len(self.factors))))

    def to_tensor(self) -> NDArray[np.float64]:
        """The tensor that the factors stand for."""
        return np.asarray(cp_to_tensor((None, list(self.factors))))

    def balanced(self) -> Cp:
        """The same tensor with the norm of every component spread evenly over its factors.

        Unbalanced components diverge in training (Phan et al. 2020, arXiv:2008.05441).
        """
        norms = np.array([np.linalg.norm(factor, axis=0) for factor in self.factors])
        safe = np.where(norms == 0.0, 1.0, norms)
        target = np.where((norms == 0.0).any(axis=0), 0.0, np.exp(np.log(safe).mean(axis=0)))
        return Cp(tuple(factor / norm * target for factor, norm in zip(self.factors, safe, strict=True)))


def decompose(tensor: NDArray[np.float64], rank: int, metric: Metric, seed: int = 0, *, sweeps: int = SWEEPS) -> Cp:
    """The CP form of `tensor` in `metric`: of a matrix the best one, of a higher order by alternating least squares.

    Args:
        tensor: order two or more.
        rank: number of components; for a matrix at most its smaller side.
        metric: one root per mode.
        seed: of the random columns that start components beyond the size of a mode.
        sweeps: of alternating least squares, at most.

    Raises:
        FusionError: the rank is out of range.
    """
    highest = highest_cp(tensor.shape)
    if not 1 <= rank <= highest:
        raise FusionError("CP rank", got=rank, expected=f"1 to {highest} for a tensor of shape {tensor.shape}")
    whitened = metric.whiten(np.asarray(tensor, dtype=np.float64))
    if tensor.ndim == 2:
        left, values, right = svd_interface(whitened, n_eigenvecs=rank, method="truncated_svd")
        factors = [np.asarray(left) * np.sqrt(values), np.asarray(right).T * np.sqrt(values)]
    else:
        with warnings.catch_warnings():
            # A rank above the size of a mode is the rule here, not a slip: few behaviours, many components.
            warnings.filterwarnings("ignore", message="Trying to compute SVD with n_eigenvecs")
            weights, found = parafac(whitened, rank=rank, init="svd", n_iter_max=sweeps, tol=1e-8, random_state=seed)
        factors = [np.asarray(factor) for factor in found]
        factors[0] = factors[0] * np.asarray(weights)
    return Cp(tuple(metric.unwhiten(factor, mode) for mode, factor in enumerate(factors))).balanced()
