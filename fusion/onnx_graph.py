"""Builds ONNX graphs node by node: what is written is what runs, with no exporter in between."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, compose, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

OPSET: Final = 18
ML_OPSET: Final = 3
IR_VERSION: Final = 9
"""The oldest that knows these operator sets, so that older runtimes can still read the file."""

ML_DOMAIN: Final = "ai.onnx.ml"

_INCLUDED: Final = "model/"
"""Begins every name of an included graph, so that none is one of ours."""

Stored = type[np.float32 | np.float64 | np.float16 | np.int64 | np.uint8 | np.int8 | np.int32]
"""Types of arrays in a file."""


class Graph:
    """A graph under construction. Every method adds to it and returns the name of the value it made."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._inputs: list[onnx.ValueInfoProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._functions: list[onnx.FunctionProto] = []
        self._opsets = {"": OPSET, ML_DOMAIN: ML_OPSET}
        self._ir_version = IR_VERSION
        self._part = ""

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Name the nodes made in here after a part of the model (`part_of`), for profilers and viewers of the file."""
        self._part, before = name, self._part
        yield
        self._part = before

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        """A float32 input of shape (rows, *shape)."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *shape]))
        return name

    def constant(self, values: ArrayLike, dtype: Stored = np.float32) -> str:
        """An array stored in the file."""
        name = f"c{len(self._constants)}"
        array: NDArray[Any] = np.ascontiguousarray(values, dtype=dtype).reshape(np.shape(values))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, output: int = 0, domain: str = "", **attributes: Any) -> str:
        """One operator.

        Args:
            kind: its ONNX name.
            inputs: names of values; "" for an optional input that is left out.
            output: which of its outputs to return; the ones before it are left out.
            domain: its operator set.
            attributes: as the operator's specification names them.
        """
        name = f"v{len(self._nodes)}"
        outputs = [""] * output + [name]
        node = f"{self._part}_{len(self._nodes)}" if self._part else ""
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, name=node, domain=domain, **attributes))
        return name

    def linear(self, value: str, weight: ArrayLike, bias: ArrayLike) -> str:
        """`value @ weight.T + bias`, weight (out, in) as torch keeps it, value (rows, in)."""
        return self.op("Gemm", value, self.constant(weight), self.constant(bias), transB=1)

    def include(
        self,
        model: onnx.ModelProto,
        feeds: Mapping[str, str],
        *,
        prefix: str = _INCLUDED,
        rewrite: Callable[[onnx.NodeProto], str | None] | None = None,
    ) -> dict[str, str]:
        """All nodes of another model, whose operator sets become those of the whole graph.

        Args:
            model: with the nodes and constants to take over.
            feeds: its inputs → the values of this graph that go there.
            prefix: of all its names; another one for every model that is included.
            rewrite: asked about every node: the value that takes the place of its first output, or None to keep it.
                Constants that nothing reads any more are left out.

        Returns:
            Its outputs → the values of this graph that they became.
        """
        inside = compose.add_prefix(model, prefix)
        for name, value in feeds.items():
            self._append(helper.make_node("Identity", [value], [prefix + name]))
        known, constants = len(self._nodes), list(inside.graph.initializer)
        for node in inside.graph.node:
            made = None if rewrite is None else rewrite(node)
            self._append(node if made is None else helper.make_node("Identity", [made], node.output[:1]))
        if rewrite is not None:
            constants = _read_by(self._nodes[known:], constants, inside.graph.output)
        self._constants += constants
        self._functions += inside.functions
        self._opsets |= {opset.domain: opset.version for opset in inside.opset_import}
        self._ir_version = max(self._ir_version, inside.ir_version)
        return {output.name: prefix + output.name for output in model.graph.output}

    def _append(self, node: onnx.NodeProto) -> None:
        """A node that has a name already, or none, under that of the part it belongs to."""
        if self._part:
            node.name = f"{self._part}_{len(self._nodes)}"
        self._nodes.append(node)

    def serialise(self, output: str, name: str, width: int) -> bytes:
        """The finished model with one output `name`, (rows, width) float32, checked against the ONNX specification."""
        self._nodes.append(helper.make_node("Identity", [output], [name]))
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in self._opsets.items()],
            functions=self._functions,
            ir_version=self._ir_version,
            producer_name="playfuse",
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def _read_by(
    nodes: Iterable[onnx.NodeProto], constants: Iterable[onnx.TensorProto], outputs: Iterable[onnx.ValueInfoProto]
) -> list[onnx.TensorProto]:
    """The constants that nodes, or graphs within them, read, or that are outputs themselves."""
    read = {value.name for value in outputs}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        read.update(node.input)
        inner = [attribute.g for attribute in node.attribute] + [g for a in node.attribute for g in a.graphs]
        waiting += [one for graph in inner for one in graph.node]
        read.update(value.name for graph in inner for value in graph.output)
    return [constant for constant in constants if constant.name in read]


def part_of(node: str) -> str:
    """The part of the model that a node was made in, from its name; empty where it has none."""
    return node.rpartition("_")[0]
