"""An ONNX file of somebody else's making: read, found sound, run as it is, and taken over into a graph of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper, version_converter

from fusion.errors import FusionError
from fusion.onnx_graph import ML_DOMAIN
from fusion.teachers.session import open_session
from fusion.yaml_file import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph

_LEAST_OPSET: Final = 9
"""The first that knows all operators that are put around a model, `Where` and `IsNaN` among them."""
_FLOATS: Final = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_INTEGERS: Final = (TensorProto.INT64, TensorProto.INT32)
_TREE_NUMBERS: Final = ("nodes_values", "nodes_splits", "leaf_weights")
"""Of a tree operator, the attributes that were learnt: every node is a split or a leaf, with one number each."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the graph: its name, ONNX element type, and dimensions, None where they are free."""

    name: str
    element_type: int
    shape: tuple[int | None, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type as NumPy names it."""
        return helper.tensor_dtype_to_np_dtype(self.element_type)

    @property
    def is_integer(self) -> bool:
        """Whether it cannot hold NaN."""
        return self.element_type in _INTEGERS


class ForeignModel:
    """A sound ONNX model with inputs of numbers, (rows, columns), and at least one output of numbers.

    Args:
        content: the file's bytes.
        where: names the file in errors.

    Attributes:
        infinite: names of weights that hold infinity. Trees may, as a threshold that nothing reaches.

    Raises:
        FusionError: it is damaged, refers to other files, holds NaN or operators that ONNX Runtime does not know, or
            its inputs or outputs are of another sort.
    """

    def __init__(self, content: bytes, where: str) -> None:
        self.where = where
        self._proto = _parse(content, where)
        self.infinite = _check_weights(self._proto, where)
        _check_operators(self._proto, where)
        self._session = open_session(content, where)
        constants = {tensor.name for tensor in self._proto.graph.initializer}
        self.inputs = tuple(
            _read_input(value, where) for value in self._proto.graph.input if value.name not in constants
        )
        self._tensors = _outputs(self._proto.graph)
        if not self._tensors or not self.inputs:
            names = ", ".join(value.name for value in self._proto.graph.output)
            raise FusionError(
                where,
                got=f"{len(self.inputs)} inputs, outputs {names or 'none'}",
                expected="at least one input, and one output of floating-point numbers: probabilities or amounts",
                fix="Of a classifier, export the probabilities as well as the labels.",
            )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that hold numbers; labels are none."""
        return tuple(self._tensors)

    @property
    def parameters(self) -> int:
        """Learned numbers: entries of weights; of trees, split thresholds and leaf values."""
        return sum(_parameters(node) for node in self._proto.graph.node) + sum(
            int(np.prod(tensor.dims)) for tensor in self._proto.graph.initializer if tensor.data_type in _FLOATS
        )

    def run(self, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """Output → (rows, columns) of the file as it is: what the graph made of it is compared with.

        Raises:
            FusionError: it fails on these inputs, or answers no rows of numbers.
        """
        rows = len(next(iter(feed.values())))
        try:
            answers = self._session.run(list(self.outputs), feed)
        except Exception as error:  # the runtime's exceptions share no public base class
            raise FusionError(
                self.where, got=f"failing on {rows} rows: {error}", expected="an answer for any number of rows"
            ) from error
        return {name: self._as_rows(name, answer, rows) for name, answer in zip(self.outputs, answers, strict=True)}

    def _as_rows(self, name: str, answer: Any, rows: int) -> NDArray[np.float64]:
        if isinstance(answer, list):
            answer = [list(row.values()) for row in answer]
        values = np.asarray(answer, dtype=np.float64)
        if values.ndim not in (1, 2) or len(values) != rows:
            raise FusionError(
                f"{self.where}, output {name}",
                got=f"shape {values.shape} for {rows} rows",
                expected="one number or several for each row",
                fix="Export it with a free first axis, the rows.",
            )
        return values.reshape(rows, -1)

    def add_to(self, graph: Graph, feeds: dict[str, str]) -> dict[str, str]:
        """Take the model over, without labels and maps, as nodes of a graph.

        Args:
            graph: with nothing included yet.
            feeds: input → value of that graph.

        Returns:
            Output → value of that graph, of the shape that the file says.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._proto)
        wanted = dict.fromkeys(self._tensors.values())
        nodes, values = _needed(model.graph, set(wanted))
        stored = [tensor for tensor in model.graph.initializer if tensor.name in values]
        del model.graph.node[:], model.graph.initializer[:], model.graph.output[:], model.graph.value_info[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(stored)
        model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
        taken = graph.include(model, feeds)
        return {name: taken[tensor] for name, tensor in self._tensors.items()}


def _parse(content: bytes, where: str) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise FusionError(
            where,
            got="no ONNX, or the beginning of one",
            expected="a whole ONNX model",
            fix="Export it again, or copy it again.",
        ) from error
    outside = [
        entry.value
        for tensor in _weights(model)
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    ]
    if outside:
        raise FusionError(
            where,
            got=f"weights in another file, {outside[0]}",
            expected="a model that is one file, so that its hash speaks for all of it",
            fix="In its folder: python -c \"import onnx; onnx.save(onnx.load('model.onnx'), 'model.onnx')\"",
        )
    versions = {opset.domain: opset.version for opset in model.opset_import}
    if versions.get("", _LEAST_OPSET) >= _LEAST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _LEAST_OPSET)
    except Exception as error:  # the converter's exceptions share no public base class
        raise FusionError(
            where,
            got=f"operators of version {versions['']}, and one that has changed since ({error})",
            expected=f"version {_LEAST_OPSET} or later",
            fix="Export it with a later `opset`.",
        ) from error


def _check_weights(model: onnx.ModelProto, where: str) -> tuple[str, ...]:
    """Refuses NaN; names what holds infinity."""
    infinite = []
    for tensor in _weights(model):
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" and np.isinf(values).any():
            infinite.append(tensor.name or "without a name")
        # A single NaN is how a graph says what marks a missing value.
        if values.size > 1 and values.dtype.kind == "f" and np.isnan(values).any():
            raise FusionError(
                f"{where}, weight {tensor.name or 'without a name'}",
                got=f"NaN in {int(np.isnan(values).sum())} of {values.size} numbers",
                expected="numbers",
                fix="Its training has diverged: train it again.",
            )
    return tuple(infinite)


def _check_operators(model: onnx.ModelProto, where: str) -> None:
    """Names an operator that no ONNX has; what other domains hold is for the runtime to say."""
    own = {function.name for function in model.functions}
    for node in _nodes(model.graph):
        if node.domain in ("", "ai.onnx", ML_DOMAIN) and node.op_type not in own:
            if onnx.defs.has(node.op_type, domain="" if node.domain == "ai.onnx" else node.domain):
                continue
            known = [schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == node.domain]
            raise FusionError(
                f"{where}, node {node.name or node.output[0]}",
                got=f"the unknown operator {node.op_type}{nearest(node.op_type, known)}",
                expected="operators of the ONNX standard",
                fix="Export it without custom operators.",
            )


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and loops included."""
    for node in graph.node:
        yield node
        for inner in _subgraphs(node):
            yield from _nodes(inner)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _weights(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Everything stored: initializers, constants, and lists of numbers of operators such as trees."""
    graphs = [model.graph, *(inner for node in _nodes(model.graph) for inner in _subgraphs(node))]
    for graph in graphs:
        yield from graph.initializer
    nodes = [*_nodes(model.graph), *(node for function in model.functions for node in function.node)]
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        if attribute.type == onnx.AttributeProto.TENSOR:
            yield attribute.t
        elif attribute.type == onnx.AttributeProto.FLOATS:
            yield helper.make_tensor(attribute.name, TensorProto.FLOAT, [len(attribute.floats)], attribute.floats)


def _parameters(node: onnx.NodeProto) -> int:
    names = _TREE_NUMBERS if node.op_type.startswith("TreeEnsemble") else None
    stored = [attribute for attribute in node.attribute if names is None or attribute.name in names]
    return sum(
        len(attribute.floats) + (int(np.prod(attribute.t.dims)) if attribute.t.data_type in _FLOATS else 0)
        for attribute in stored
    )


def _read_input(value: onnx.ValueInfoProto, where: str) -> Input:
    kind = value.type.tensor_type
    shape = tuple(part.dim_value if part.HasField("dim_value") else None for part in kind.shape.dim)
    if kind.elem_type not in (*_FLOATS, *_INTEGERS) or len(shape) != 2:
        raise FusionError(
            f"{where}, input {value.name}",
            got=f"{onnx.TensorProto.DataType.Name(kind.elem_type).lower()} of shape {shape}",
            expected="numbers of shape (rows, columns)",
            fix="Features are numbers: put encoders of text or of sequences before the export.",
        )
    if shape[0] is not None:
        raise FusionError(
            f"{where}, input {value.name}",
            got=f"a fixed number of rows, {shape[0]}",
            expected="any number of rows",
            fix="Export it with a free first axis (dynamic_axes or dynamic_shapes in torch, None in skl2onnx).",
        )
    return Input(value.name, kind.elem_type, shape)


def _outputs(graph: onnx.GraphProto) -> dict[str, str]:
    """Output of numbers → the tensor that holds them: of a `ZipMap`, the one it makes a list of maps from."""
    zipped = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ZipMap"}
    found = {}
    for value in graph.output:
        if value.name in zipped:
            found[value.name] = zipped[value.name]
        elif value.type.tensor_type.elem_type in _FLOATS:
            found[value.name] = value.name
    return found


def _needed(graph: onnx.GraphProto, wanted: set[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that the wanted values depend on, in their order, and the values that they read."""
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted = wanted.union(node.input, *(inner.input for sub in _subgraphs(node) for inner in _nodes(sub)))
    return kept[::-1], wanted
