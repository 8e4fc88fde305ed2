"""Tensor train [Oseledets, SIAM J. Scientific Computing 33(5), 2011], the matrix product state of quantum physics.

A chain of cores, one per mode, each joined to the next by a bond. Of a tensor `(out, bin, feature)` the outer modes are
compressed and the middle one lies whole in its core, which has only two ranks to choose: where one mode resists
compression, it belongs in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from tensorly.decomposition import tensor_train
from tensorly.tt_tensor import tt_to_tensor

from fusion.errors import FusionError
from fusion.lowrank.form import MODES
from fusion.lowrank.ranks import highest_train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.lowrank.metric import Metric

_BONDS: Final = "rstuvw"


@dataclass(frozen=True, slots=True)
class TensorTrain:
    """A decomposed tensor of order two or more.

    Attributes:
        cores: (size, rank), then (rank, size, rank) for each mode in between, then (rank, size).
    """

    cores: tuple[NDArray[np.float64], ...]

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """One core per mode."""
        return {f"core{mode}": core for mode, core in enumerate(self.cores)}

    @property
    def subscripts(self) -> dict[str, str]:
        """Every core has its mode between its two bonds."""
        bonds = ("", *_BONDS[: len(self.cores) - 1], "")
        return {f"core{mode}": bonds[mode] + MODES[mode] + bonds[mode + 1] for mode in range(len(self.cores))}

    @property
    def components(self) -> dict[str, str]:
        """One letter per bond."""
        return {_BONDS[bond]: f"components of bond {bond}" for bond in range(len(self.cores) - 1)}

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> TensorTrain:
        """A train of other cores."""
        return TensorTrain(tuple(arrays[f"core{mode}"] for mode in range(len(self.cores))))

    def to_tensor(self) -> NDArray[np.float64]:
        """The tensor that the cores stand for."""
        first, *inner, last = self.cores
        return np.asarray(tt_to_tensor([first[None], *inner, last[..., None]]))

    def balanced(self) -> TensorTrain:
        """The same tensor: every component of a bond alike in both its cores, and cores of equal root mean square."""
        cores = list(self.cores)
        for bond in range(len(cores) - 1):
            left = np.linalg.norm(cores[bond].reshape(-1, cores[bond].shape[-1]), axis=0)
            right = np.linalg.norm(cores[bond + 1].reshape(len(cores[bond + 1]), -1), axis=1)
            share = np.sqrt(np.where((left > 0) & (right > 0), right / np.where(left > 0, left, 1.0), 1.0))
            share[share == 0.0] = 1.0
            cores[bond] = cores[bond] * share
            cores[bond + 1] = cores[bond + 1] / share.reshape(-1, *(1,) * (cores[bond + 1].ndim - 1))
        sizes = [float(np.sqrt(np.mean(np.square(core)))) for core in cores]
        if min(sizes) == 0.0:
            return TensorTrain(tuple(cores))
        target = float(np.exp(np.mean(np.log(sizes))))
        return TensorTrain(tuple(core * (target / size) for core, size in zip(cores, sizes, strict=True)))


def decompose(tensor: NDArray[np.float64], ranks: Sequence[int], metric: Metric) -> TensorTrain:
    """The train of `tensor` by successive truncated singular value decompositions in `metric`.

    Its squared error is at most the sum, over the bonds, of the squared singular values that are cut off.

    Args:
        tensor: order two or more.
        ranks: of every bond, one fewer than the modes.
        metric: one root per mode.

    Raises:
        FusionError: a rank is out of range.
    """
    if len(ranks) != tensor.ndim - 1:
        raise FusionError(
            "tensor train ranks", got=f"{len(ranks)} ranks", expected=f"{tensor.ndim - 1}, one between every two modes"
        )
    for bond, rank in enumerate(ranks):
        highest = highest_train(ranks, tensor.shape, bond)
        if not 1 <= rank <= highest:
            raise FusionError(
                f"tensor train rank of bond {bond}",
                got=rank,
                expected=f"1 to {highest}: at most what either core beside it can have",
            )
    whitened = metric.whiten(np.asarray(tensor, dtype=np.float64))
    found = [np.asarray(core) for core in tensor_train(whitened, rank=[1, *ranks, 1]).factors]
    cores = []
    for mode, core in enumerate(found):
        by_mode = np.moveaxis(core, 1, 0)
        plain = metric.unwhiten(by_mode.reshape(len(by_mode), -1), mode).reshape(by_mode.shape)
        cores.append(np.moveaxis(plain, 0, 1))
    return TensorTrain((cores[0][0], *cores[1:-1], cores[-1][..., 0]))
