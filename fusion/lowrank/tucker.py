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
from fusion.lowrank.form import MODES
from fusion.lowrank.ranks import highest_tucker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The core, and a factor per decomposed mode."""
        factors = {f"factor{mode}": factor for mode, factor in enumerate(self.factors) if factor is not None}
        return {"core": self.core, **factors}

    @property
    def subscripts(self) -> dict[str, str]:
        """The core has the components of every decomposed mode, and the whole modes themselves."""
        decomposed = [mode for mode, factor in enumerate(self.factors) if factor is not None]
        core = "".join(
            letter.upper() if mode in decomposed else letter for mode, letter in enumerate(MODES[: self.core.ndim])
        )
        return {"core": core, **{f"factor{mode}": f"{MODES[mode]}{MODES[mode].upper()}" for mode in decomposed}}

    @property
    def components(self) -> dict[str, str]:
        """One letter per decomposed mode."""
        return {
            MODES[mode].upper(): f"components of mode {mode}"
            for mode, factor in enumerate(self.factors)
            if factor is not None
        }

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> Tucker:
        """A Tucker form of another core and other factors; the same modes are whole."""
        factors = (None if whole is None else arrays[f"factor{mode}"] for mode, whole in enumerate(self.factors))
        return Tucker(arrays["core"], tuple(factors))

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
        metric: one root per mode; errors along a whole mode count as its root says, too.

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
    whole = (mode for mode, rank in enumerate(ranks) if rank is None and metric.roots[mode] is not None)
    for mode in whole:
        # What stays whole was whitened with the rest: the core takes it back.
        turned = np.moveaxis(np.asarray(core), mode, 0)
        core = np.moveaxis(metric.unwhiten(turned.reshape(len(turned), -1), mode).reshape(turned.shape), 0, mode)
    return Tucker(np.asarray(core), tuple(factors))


def _rms(array: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(array))))
