"""Large embedding tables as tensor-train matrices [Oseledets 2010; of embeddings: Hrinchuk et al. 2020,
arXiv:1901.10787].

A table of v = v₁ v₂ v₃ rows and d = d₁ d₂ d₃ columns is a chain of cores (rank, vₖ, dₖ, rank). A row's number, written
in the mixed base (v₁, v₂, v₃), picks one slice of each core; their product is the row. The table itself is never built:
a million rows cost as much to serve as ten thousand.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import torch
from tensorly.decomposition import tensor_train_matrix
from torch import Tensor, nn

from fusion.errors import FusionError
from fusion.lowrank.ranks import lowered_train
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph

LARGE: Final = 10_000
"""Rows from which on a train pays: below, the table is small and its rows too few to share anything."""


class TrainEmbedding(nn.Module):
    """Rows of a table, looked up by number.

    Args:
        cores: (rank, vₖ, dₖ, rank) each, the outer ranks 1.
        rows: of the table; the product of all vₖ may be larger.
    """

    def __init__(self, cores: Sequence[NDArray[np.float64]], rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.cores = nn.ModuleList(Weight(core) for core in cores)

    @classmethod
    def from_table(cls, table: NDArray[np.float64], width: Sequence[int], rank: int | Sequence[int]) -> Self:
        """Decompose a table.

        Args:
            table: (rows, columns).
            width: factors of the columns, one per core, two or more; the rows are cut alike, and padded with their mean
                where they do not divide.
            rank: of every bond, or one for each; lowered where the cores beside it cannot have it.

        Raises:
            FusionError: the factors do not multiply to the columns.
        """
        tensor = as_tensor(table, width)
        height = tensor.shape[: len(width)]
        wanted = [rank] * (len(width) - 1) if isinstance(rank, int) else list(rank)
        ranks = lowered_train(wanted, [v * d for v, d in zip(height, width, strict=True)])
        found = tensor_train_matrix(tensor, rank=[1, *ranks, 1])
        cores = [np.asarray(core) for core in found.factors]
        sizes = [float(np.sqrt(np.mean(np.square(core)))) or 1.0 for core in cores]
        level = float(np.exp(np.mean(np.log(sizes))))
        return cls([core * (level / size) for core, size in zip(cores, sizes, strict=True)], len(table))

    @property
    def columns(self) -> int:
        """Of the table."""
        return prod(int(weight.array.shape[2]) for weight in self.weights())

    @property
    def capacity(self) -> int:
        """Rows that the cores can tell apart; from this number on, the graph's look-up fails."""
        return prod(int(weight.array.shape[1]) for weight in self.weights())

    @property
    def kept(self) -> int:
        """Numbers stored."""
        return sum(weight.kept for weight in self.weights())

    def weights(self) -> Iterator[Weight]:
        """The cores."""
        for weight in self.cores:
            assert isinstance(weight, Weight)
            yield weight

    def forward(self, index: Tensor) -> Tensor:
        """(rows,) int64 numbers → (rows, columns).

        Raises:
            FusionError: a number is outside the table.
        """
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < self.rows:
            raise FusionError(
                "embedding", got=f"{int(index.min())} to {int(index.max())}", expected=f"0 to {self.rows - 1}"
            )
        value = torch.ones((len(index), 1, 1))
        for place, size, core in self._digits():
            # (rows, columns so far, rank) times (rows, rank, columns of the core * next rank).
            chosen = core()[:, (index // place) % size]
            value = torch.einsum("ncr,rnds->ncds", value, chosen).flatten(1, 2)
        return value[..., 0]

    def add_to(self, graph: Graph, index: str) -> str:
        """Nodes of a graph from (rows,) int64 to (rows, columns)."""
        value = ""
        for place, size, core in self._digits():
            digit = graph.op("Div", index, graph.constant(place, np.int64))
            if value:  # the highest digit is what it is: one too high is found nowhere, as in a table
                digit = graph.op("Mod", digit, graph.constant(size, np.int64))
            rank, _, columns, following = core.array.shape
            # Turned round at load, so that a digit picks one block of memory.
            slices = graph.op("Transpose", core.add_to(graph), perm=[1, 0, 2, 3])
            chosen = graph.op("Gather", slices, digit, axis=0)
            chosen = graph.op("Reshape", chosen, graph.constant((-1, rank, columns * following), np.int64))
            product = graph.op("MatMul", value, chosen) if value else chosen
            value = graph.op("Reshape", product, graph.constant((0, -1, following), np.int64))
        return graph.op("Reshape", value, graph.constant((0, -1), np.int64))

    def _digits(self) -> Iterator[tuple[int, int, Weight]]:
        """Value of a digit's place, number of its values, and its core; the first core has the highest place."""
        sizes = [int(weight.array.shape[1]) for weight in self.weights()]
        for position, weight in enumerate(self.weights()):
            yield prod(sizes[position + 1 :]), sizes[position], weight


def as_tensor(table: NDArray[np.float64], width: Sequence[int]) -> NDArray[np.float64]:
    """A table (rows, columns) as (v₁, v₂, ..., d₁, d₂, ...), filled up with the mean of its rows.

    Args:
        table: to decompose.
        width: d₁, d₂, ...

    Raises:
        FusionError: they do not multiply to the columns.
    """
    rows, columns = table.shape
    if prod(width) != columns or len(width) < 2:
        raise FusionError(
            "factors of an embedding's width",
            got=" * ".join(map(str, width)),
            expected=f"two or more numbers that multiply to {columns}",
        )
    height = cut(rows, len(width))
    padded = np.empty((prod(height), columns))
    padded[:rows], padded[rows:] = table, table.mean(axis=0)
    return padded.reshape(*height, *width)


def cut(rows: int, parts: int) -> tuple[int, ...]:
    """Factors of about equal size whose product is at least `rows`, and no larger than it must be for such factors."""
    found = [max(1, round(rows ** (1.0 / parts)))] * (parts - 1)
    return (*found, -(-rows // prod(found)))
