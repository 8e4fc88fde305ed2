"""What every choice of ranks loses, from one higher-order SVD [De Lathauwer et al., SIAM J. Matrix Anal. 21(4), 2000].

In the basis of its modes' singular vectors a tensor is an all-orthogonal core. Cutting ranks cuts the core to a corner;
what is lost is the rest of its squared norm, exactly. So one decomposition prices all ranks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tensorly.base import unfold
from tensorly.tenalg import multi_mode_dot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class TruncatedHosvd:
    """The loss of every truncation of a tensor.

    Args:
        tensor: whitened, so that all errors count alike.
        modes: those with a rank to choose; all others stay whole.
    """

    def __init__(self, tensor: NDArray[np.float64], modes: Sequence[int]) -> None:
        bases = [np.linalg.svd(unfold(tensor, mode), full_matrices=False)[0] for mode in modes]
        core = np.asarray(multi_mode_dot(tensor, bases, modes=list(modes), transpose=True))
        rest = tuple(mode for mode in range(tensor.ndim) if mode not in modes)
        kept = np.square(np.transpose(core, (*modes, *rest))).reshape(*(core.shape[mode] for mode in modes), -1).sum(-1)
        for axis in range(kept.ndim):
            kept = np.cumsum(kept, axis=axis)
        self._kept = kept
        self._total = float(kept[(-1,) * kept.ndim])

    @property
    def highest(self) -> tuple[int, ...]:
        """Per chosen mode the rank that loses nothing."""
        return tuple(int(size) for size in self._kept.shape)

    def lost(self, ranks: Sequence[int]) -> float:
        """Share of the squared norm that is cut off by these ranks of the chosen modes, 0 to 1."""
        if not self._total:
            return 0.0
        corner = tuple(min(rank, size) - 1 for rank, size in zip(ranks, self._kept.shape, strict=True))
        return max(0.0, 1.0 - float(self._kept[corner]) / self._total)
