"""Small integers, and arrays with holes, as an ONNX file stores them: packed, and unpacked by nodes at load.

ONNX Runtime works such nodes out once, when it opens the file: what is saved is bytes, what is served is float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph


@dataclass(frozen=True, slots=True)
class Holes:
    """Which numbers of an array are stored, in a graph.

    Attributes:
        kept: of the array's shape, False where there is a hole.
        name: of the same in the graph, float32 ones and zeros, stored as one bit each.
    """

    kept: NDArray[np.bool_]
    name: str

    @classmethod
    def in_graph(cls, graph: Graph, kept: NDArray[np.bool_]) -> Holes:
        """Store them."""
        return cls(kept, _shaped(graph, _unpacked(graph, kept.ravel().astype(np.uint8), 1), kept.shape))


def add_array(graph: Graph, array: NDArray[np.float32], holes: Holes | None) -> str:
    """A float32 array; where it has holes, only what is kept."""
    if holes is None:
        return graph.constant(array)
    return _scattered(graph, graph.constant(np.append(np.float32(0), array[holes.kept])), holes)


def add_codes(graph: Graph, codes: NDArray[np.uint8], bits: int, holes: Holes | None) -> str:
    """Integers from 0 to 2^bits - 1, as a float32 array of their shape; 0 in the holes."""
    if holes is None:
        return _shaped(graph, _unpacked(graph, codes.ravel(), bits), codes.shape)
    return _scattered(graph, _unpacked(graph, np.append(np.uint8(0), codes[holes.kept]), bits), holes)


def packed(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """8 / bits codes to a byte, the first one in the lowest bits; zeros fill the last byte."""
    per_byte = 8 // bits
    padded = np.pad(codes, (0, -len(codes) % per_byte)).reshape(-1, per_byte)
    shifted = padded << (bits * np.arange(per_byte, dtype=np.uint8))
    return np.asarray(np.bitwise_or.reduce(shifted, axis=1), dtype=np.uint8)


def _unpacked(graph: Graph, codes: NDArray[np.uint8], bits: int) -> str:
    """(codes,) as float32."""
    stored = graph.constant(packed(codes, bits), np.uint8)
    if bits < 8:
        column = _shaped(graph, stored, (-1, 1))
        shifts = graph.constant(bits * np.arange(8 // bits), np.uint8)
        shifted = graph.op("BitShift", column, shifts, direction="RIGHT")
        low = graph.op("BitwiseAnd", shifted, graph.constant(2**bits - 1, np.uint8))
        bounds = (graph.constant((0,), np.int64), graph.constant((len(codes),), np.int64))
        stored = graph.op("Slice", _shaped(graph, low, (-1,)), *bounds)
    return graph.op("Cast", stored, to=TensorProto.FLOAT)


def _scattered(graph: Graph, values: str, holes: Holes) -> str:
    """Values, in order, where something is kept; the one before them all in the holes.

    NonZero and ScatterElements would say it more plainly, but ONNX Runtime works them out anew in every run.
    """
    kept = graph.op("Cast", holes.name, to=TensorProto.INT64)
    count = graph.op("CumSum", _shaped(graph, kept, (-1,)), graph.constant(0, np.int64))
    places = graph.op("Mul", _shaped(graph, count, holes.kept.shape), kept)
    return graph.op("Gather", values, places)


def _shaped(graph: Graph, value: str, shape: tuple[int, ...]) -> str:
    return graph.op("Reshape", value, graph.constant(shape, np.int64))
