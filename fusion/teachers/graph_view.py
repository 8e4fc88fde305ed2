"""An ONNX graph seen from its values: what computes them, and which of them are constants."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

_FLOATS: Final = (TensorProto.FLOAT, TensorProto.DOUBLE)


class NotLayers(Exception):  # noqa: N818 - nobody's fault: it becomes a `BlackBox`
    """Why a graph, or a part of it, is no chain of layers."""


class GraphView:
    """A graph, to be read from its outputs to its inputs.

    Args:
        model: with at least the operators' versions that shape inference knows.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = shape_inference.infer_shapes(model).graph
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._shapes = {
            value.name: tuple(part.dim_value or None for part in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self.inputs = tuple(value.name for value in graph.input if value.name not in self._constants)

    def origin(self, value: str) -> str:
        """The same numbers under the name that they have before copies and changes of precision."""
        node = self._producers.get(value)
        while node is not None and self._copies(node):
            value = node.input[0]
            node = self._producers.get(value)
        return value

    def _copies(self, node: onnx.NodeProto) -> bool:
        if node.op_type in ("Reshape", "Flatten"):
            before, after = (self._shapes.get(name, ()) for name in (node.input[0], node.output[0]))
            return len(before) == len(after) == 2 and before[1] is not None and before[1] == after[1]
        if node.op_type == "Cast":
            return attribute(node, "to", 0) in _FLOATS
        return node.op_type in ("Identity", "Dropout")

    def node(self, value: str, *kinds: str) -> onnx.NodeProto | None:
        """What computes a value, copies aside; None where it is an input, a constant, or of none of these kinds."""
        node = self._producers.get(self.origin(value))
        return node if node is not None and (not kinds or node.op_type in kinds) else None

    def constant(self, value: str) -> NDArray[Any] | None:
        """A constant's numbers; None where the value is computed."""
        value = self.origin(value)
        if value not in self._constants:
            node = self._producers.get(value)
            if node is None or node.op_type != "Constant":
                return None
            self._constants[value] = np.asarray(
                numpy_helper.to_array(node.attribute[0].t)
                if node.attribute[0].name == "value"
                else helper.get_attribute_value(node.attribute[0])
            )
        return self._constants[value]

    def weight(self, value: str) -> NDArray[np.float64]:
        """A constant that has to be one.

        Raises:
            NotLayers: it is computed.
        """
        found = self.constant(value)
        if found is None:
            raise NotLayers(f"the weight {value} is computed, not stored")
        return np.asarray(found, dtype=np.float64)

    def is_constant(self, value: str, number: float) -> bool:
        """Whether a value is this one number, up to single precision."""
        found = self.constant(value)
        return found is not None and found.size == 1 and bool(np.isclose(found, number, rtol=1e-6).all())

    def columns(self, value: str) -> int | None:
        """Length of the last axis of a value of two axes; None where it is not known."""
        shape = self._shapes.get(self.origin(value), ())
        return shape[1] if len(shape) == 2 else None


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node; text as text."""
    for entry in node.attribute:
        if entry.name == name:
            found = helper.get_attribute_value(entry)
            return found.decode() if isinstance(found, bytes) else found
    return default
