"""Non-uniform quantization: codes are indices into a short list of values.

- k-means [Han, Mao and Dally 2016, arXiv:1510.00149]: the values that leave the least squared error.
- power of two [Zhou et al. 2017, arXiv:1702.03044]: 0 and ±2^n, for hardware that shifts instead of multiplying.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from onnx import TensorProto
from pydantic import BaseModel, ConfigDict

from fusion.quantize.packing import Holes, add_codes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph


class _Scheme(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KMeansCodebook(_Scheme):
    """The values are the means of clusters."""

    scheme: Literal["k_means"] = "k_means"
    bits: Literal[8, 4, 2] = 4

    def fit(self, array: NDArray[np.float32]) -> Codebook:
        """Cluster the numbers of an array; one of few distinct numbers keeps them all."""
        from sklearn.cluster import KMeans  # here, because it takes a second that few recipes need

        distinct = np.unique(array)
        if len(distinct) <= 2**self.bits:
            return Codebook(distinct, self.bits)
        start = np.quantile(array, (np.arange(2**self.bits) + 0.5) / 2**self.bits).reshape(-1, 1)
        found = KMeans(2**self.bits, init=start, n_init=1).fit(array.reshape(-1, 1).astype(np.float64))
        return Codebook(np.unique(found.cluster_centers_.astype(np.float32)), self.bits)


class PowerOfTwo(_Scheme):
    """The values are 0 and ±2^n, n down from that of the largest number."""

    scheme: Literal["power_of_two"] = "power_of_two"
    bits: Literal[8, 4, 2] = 4

    def fit(self, array: NDArray[np.float32]) -> Codebook:
        """Take the powers next to the largest number; below them, 0."""
        largest = float(np.abs(array).max(initial=0.0))
        # Up to 4/3 of a power, that power is the nearest one.
        top = int(np.floor(np.log2(largest * 4 / 3))) if largest > 0 else 0
        # 32 octaves below the largest number nothing is left to tell apart.
        count = min(2 ** (self.bits - 1) - 1, 32) if self.bits > 1 else 1
        powers = 2.0 ** (top - np.arange(count))
        return Codebook(np.sort(np.concatenate((-powers, [0.0], powers))).astype(np.float32), self.bits)


@dataclass(frozen=True, slots=True)
class Codebook:
    """A short list of values.

    Attributes:
        values: (values,) float32, ascending.
        bits: per code in the file.
    """

    values: NDArray[np.float32]
    bits: int

    def rounded(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every number as the file gives it back."""
        return self.values[self._codes(array)]

    def _codes(self, array: NDArray[np.float32]) -> NDArray[np.uint8]:
        middles = (self.values[1:] + self.values[:-1]) / 2
        return np.searchsorted(middles, array).astype(np.uint8)

    def add_to(self, graph: Graph, array: NDArray[np.float32], holes: Holes | None) -> str:
        """The codes, the values, and nodes that look them up."""
        codes = graph.op("Cast", add_codes(graph, self._codes(array), self.bits, holes), to=TensorProto.INT64)
        return graph.op("Gather", graph.constant(self.values), codes)
