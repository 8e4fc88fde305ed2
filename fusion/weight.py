"""An array that a network stores: trained, perhaps thinned out, perhaps kept in fewer bits.

Training sees what will be served: the mask and the rounding are applied on the way forward, and gradients pass the
rounding as if it were not there (straight-through estimator, Bengio et al. 2013, arXiv:1308.3432).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fusion.onnx_graph import Graph


class Code(Protocol):
    """The codes of one array: fewer bits in the file, float32 again at load."""

    @property
    def stored_bytes(self) -> int:
        """Bytes in the file: codes, scales, codebook."""
        ...

    def decode(self) -> NDArray[np.float32]:
        """The array that a server computes with."""
        ...

    def add_to(self, graph: Graph) -> str:
        """Nodes that decode it when the file is loaded; the name of the array."""
        ...


class Scheme(Protocol):
    """How arrays are written in fewer bits."""

    def encode(self, array: NDArray[np.float32]) -> Code:
        """The codes nearest to an array of any shape."""
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
        self.scheme: Scheme | None = None

    def forward(self) -> Tensor:
        """The array as it will be served."""
        value: Tensor = self.array if self.mask is None else self.array * self.mask
        if self.scheme is not None:
            code = self.scheme.encode(value.detach().numpy())
            value = value + (torch.from_numpy(code.decode()) - value).detach()
        return value

    def numpy(self) -> NDArray[np.float32]:
        """The array as it will be served, apart from training."""
        return np.asarray(self().detach().numpy())

    def select(self, axis: int, index: NDArray[np.int64]) -> None:
        """Keep some entries of an axis: what structured pruning leaves."""
        chosen = torch.from_numpy(index)
        self.array = nn.Parameter(self.array.detach().index_select(axis, chosen))
        if self.mask is not None:
            self.mask = self.mask.index_select(axis, chosen)

    @property
    def kept(self) -> int:
        """Numbers that are stored: pruned ones are not."""
        return self.array.numel() if self.mask is None else int(self.mask.count_nonzero())

    def add_to(self, graph: Graph) -> str:
        """Nodes that give the array when the file is loaded; its name."""
        if self.scheme is not None:
            unmasked = self.array if self.mask is None else self.array * self.mask
            return self.scheme.encode(unmasked.detach().numpy()).add_to(graph)
        return graph.constant(self.numpy())
