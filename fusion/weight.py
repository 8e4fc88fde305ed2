"""An array that a network stores: trained, perhaps thinned out, perhaps kept in fewer bits.

Training sees what will be served: the mask and the rounding are applied on the way forward, and gradients pass the
rounding as if it were not there (straight-through estimator, Bengio et al. 2013, arXiv:1308.3432).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fusion.quantize.packing import Holes, add_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fusion.onnx_graph import Graph


class Grid(Protocol):
    """The values that the numbers of an array are rounded to."""

    def rounded(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every number as the file gives it back."""
        ...

    def add_to(self, graph: Graph, array: NDArray[np.float32], holes: Holes | None) -> str:
        """The codes, and nodes that decode them at load; what they give in the holes does not matter."""
        ...


class Weight(nn.Module):
    """One stored array.

    Args:
        values: what it starts from.
    """

    mask: Tensor | None
    """Same shape, 0 where a number was pruned and 1 elsewhere; None before any pruning."""

    def __init__(self, values: ArrayLike) -> None:
        super().__init__()
        self.array = nn.Parameter(torch.tensor(np.asarray(values), dtype=torch.float32))
        self.register_buffer("mask", None)
        self.grid: Grid | None = None

    def forward(self) -> Tensor:
        """The array as it will be served."""
        value: Tensor = self.array
        if self.grid is not None:
            rounded = torch.from_numpy(self.grid.rounded(value.detach().numpy()))
            value = value + (rounded - value).detach()
        return value if self.mask is None else value * self.mask

    def numpy(self) -> NDArray[np.float32]:
        """The array as it will be served, apart from training."""
        return np.asarray(self().detach().numpy())

    def select(self, axis: int, index: NDArray[np.int64]) -> None:
        """Keep some entries of an axis: what structured pruning leaves."""
        chosen = torch.from_numpy(index)
        self.array = nn.Parameter(self.array.detach().index_select(axis, chosen))
        if self.mask is not None:
            self.mask = self.mask.index_select(axis, chosen)

    def plain(self) -> None:
        """Keep what is served as it is: rounding and holes become ordinary numbers."""
        self.array.data, self.mask, self.grid = torch.from_numpy(self.numpy().copy()), None, None

    def insert(self, axis: int, position: int, like: int) -> None:
        """Put a copy of entry `like` of an axis in at a position; of a plain array."""
        index = torch.arange(self.array.shape[axis])
        grown = torch.cat((index[:position], index[like : like + 1], index[position:]))
        self.array = nn.Parameter(self.array.detach().index_select(axis, grown))

    @property
    def kept(self) -> int:
        """Numbers that are stored: pruned ones are not."""
        return self.array.numel() if self.mask is None else int(self.mask.count_nonzero())

    def add_to(self, graph: Graph) -> str:
        """Nodes that give the array when the file is loaded; its name."""
        holes = None if self.mask is None else Holes.in_graph(graph, self.mask.numpy().astype(np.bool_))
        if self.grid is None:
            return add_array(graph, self.numpy(), holes)
        rounded = self.grid.add_to(graph, self.array.detach().numpy(), holes)
        return rounded if holes is None else graph.op("Mul", rounded, holes.name)
