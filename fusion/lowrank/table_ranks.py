"""Ranks of a tensor-train table: by a bound of its error.

Cutting every bond costs at most the sum, over the bonds, of the squared singular values that are cut off there
[Oseledets, SIAM J. Scientific Computing 33(5), 2011, theorem 2.2]: each bond may cost its share of the error allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Self

import numpy as np

from fusion.lowrank.embedding import as_tensor
from fusion.lowrank.ranks import lowered_train

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class TableSpectrum:
    """What every bond's rank costs.

    Attributes:
        sizes: (vₖ, dₖ) of every core.
        square: the table's squared norm.
        lost: per bond, (ranks + 1,): the squared norm that is lost there at rank 0, 1, ...
    """

    sizes: tuple[tuple[int, int], ...]
    square: float
    lost: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(cls, table: NDArray[np.float64], width: tuple[int, ...]) -> Self:
        """Measure a table (rows, columns), its columns cut into `width`."""
        tensor, parts = as_tensor(table, width), len(width)
        # Rows and columns of one core side by side.
        tensor = tensor.transpose([axis for part in range(parts) for axis in (part, parts + part)])
        sizes = tuple((tensor.shape[2 * part], tensor.shape[2 * part + 1]) for part in range(parts))
        lost = []
        for bond in range(1, parts):
            matrix = tensor.reshape(prod(v * d for v, d in sizes[:bond]), -1)
            small = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
            squares = np.maximum(np.linalg.eigvalsh(small), 0.0)
            lost.append(np.concatenate(([0.0], np.cumsum(squares)))[::-1])
        return cls(sizes, float(np.square(table).sum()), tuple(lost))

    def ranks(self, relative_error: float) -> tuple[int, ...]:
        """The least ranks that keep the table's error, relative in Frobenius norm, within a bound."""
        share = relative_error**2 * self.square / len(self.lost)
        found = [max(1, int(np.argmax(lost <= share))) for lost in self.lost]
        return lowered_train(found, [v * d for v, d in self.sizes])

    def numbers(self, ranks: tuple[int, ...]) -> int:
        """That a train of such ranks stores."""
        bonds = (1, *ranks, 1)
        return sum(bonds[k] * v * d * bonds[k + 1] for k, (v, d) in enumerate(self.sizes))


def factors(columns: int, parts: int) -> tuple[int, ...]:
    """Numbers as equal as can be that multiply to `columns`, the largest one last."""
    found: list[int] = []
    for left in range(parts, 1, -1):
        most = max(1, int(columns ** (1.0 / left) + 1e-9))
        found.append(next(size for size in range(most, 0, -1) if columns % size == 0))
        columns //= found[-1]
    return (*found, columns)
