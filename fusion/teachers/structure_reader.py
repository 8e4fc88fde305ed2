"""Reads the layers of a network back from its ONNX graph: from the output to the inputs, node by node."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx

from fusion.teachers.graph_view import GraphView, NotLayers
from fusion.teachers.node_readers import READERS
from fusion.teachers.onnx_teacher import LINKS
from fusion.teachers.structure import Affine, BlackBox, Chain, Dense, Join, Layer

_WEIGHTED: Final = frozenset(("Gemm", "MatMul", "LinearRegressor", "LinearClassifier", "LayerNormalization"))
"""Operators that no chain comes to twice: the output of one that it does would go two ways."""


def read_structure(model: bytes, output: str = LINKS) -> Chain | BlackBox:
    """The layers of a network.

    Args:
        model: an ONNX file's bytes.
        output: name of the graph's output to begin at.

    Returns:
        The chain of layers that computes it from the graph's inputs; or why there is none: an operator that is no
        layer, layers whose output goes two ways, weights that are computed.
    """
    reader = Reader(GraphView(onnx.load_model_from_string(model)))
    try:
        return _simple(reader.chain(output))
    except NotLayers as error:
        return BlackBox(str(error))


class Reader:
    """Follows values back to the inputs."""

    def __init__(self, view: GraphView) -> None:
        self.view = view
        self._met: set[str] = set()

    def chain(self, value: str) -> Chain:
        """The layers that compute a value.

        Raises:
            NotLayers: there are none.
        """
        value = self.view.origin(value)
        if value in self.view.inputs:
            return Chain(value)
        node = self.view.node(value)
        if node is None:
            raise NotLayers(f"{value} is a constant, where something computed is expected")
        if node.op_type not in READERS:
            raise NotLayers(f"{node.op_type} (node {node.name or value}) is no layer")
        if node.op_type in _WEIGHTED:
            self.meet(node)
        return READERS[node.op_type](self, node)

    def meet(self, node: onnx.NodeProto) -> None:
        """Note that a layer with weights was met.

        Raises:
            NotLayers: for the second time.
        """
        if node.output[0] in self._met:
            raise NotLayers(f"the output of {node.op_type} (node {node.name or node.output[0]}) goes two ways")
        self._met.add(node.output[0])

    def same(self, first: str, second: str) -> bool:
        """Whether two names are of the same numbers."""
        return self.view.origin(first) == self.view.origin(second)


def _simple(chain: Chain) -> Chain:
    """The same with fewer layers: scales and shifts merged with one another and into the linear layer before them."""
    source = (
        chain.source if isinstance(chain.source, str) else Join(tuple(_simple(part) for part in chain.source.parts))
    )
    layers: list[Layer] = []
    for layer in chain.layers:
        before = layers[-1] if layers else None
        if not isinstance(layer, Affine):
            layers.append(layer)
        elif isinstance(before, Dense):
            layers[-1] = Dense(before.weight * layer.scale[:, None], before.bias * layer.scale + layer.shift)
        elif isinstance(before, Affine):
            scale, shift = np.broadcast_arrays(before.scale * layer.scale, before.shift * layer.scale + layer.shift)
            layers[-1] = Affine(scale, shift)
        else:
            layers.append(layer)
    kept = [one for one in layers if not isinstance(one, Affine) or (one.scale != 1).any() or one.shift.any()]
    return Chain(source, tuple(kept))
