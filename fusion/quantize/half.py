"""Half precision: 10 bits of mantissa and 5 of exponent [IEEE 754-2008 binary16]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from onnx import TensorProto
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph
    from fusion.quantize.packing import Holes

_LARGEST = np.float32(np.finfo(np.float16).max)


class Half(BaseModel):
    """Storage in half precision; it has nothing to fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["float16"] = "float16"

    def fit(self, array: NDArray[np.float32]) -> Half:
        """Itself: half precision is the same for every array."""
        return self

    def rounded(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every number as the file gives it back; what is too large becomes the largest there is."""
        return self._halves(array).astype(np.float32)

    def _halves(self, array: NDArray[np.float32]) -> NDArray[np.float16]:
        return np.clip(array, -_LARGEST, _LARGEST).astype(np.float16)

    def add_to(self, graph: Graph, array: NDArray[np.float32], holes: Holes | None) -> str:
        """The array in half precision, holes and all, and the node that widens it."""
        return graph.op("Cast", graph.constant(self._halves(array), np.float16), to=TensorProto.FLOAT)
