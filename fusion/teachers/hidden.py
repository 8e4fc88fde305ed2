"""The last hidden layer of a teacher that is a network: found in its ONNX graph, computed for players."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx

from fusion.errors import FusionError
from fusion.teachers.graph_view import GraphView
from fusion.teachers.library import inputs_of
from fusion.teachers.node_readers import READERS
from fusion.teachers.onnx_teacher import FEATURES, LINKS, SEQUENCES
from fusion.teachers.session import open_session
from fusion.teachers.structure import BlackBox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset

_LINEAR: Final = frozenset({"Gemm", "MatMul", "LinearRegressor", "LinearClassifier"})
_LEARNT: Final = _LINEAR | {"GRU", "LSTM", "RNN", "Conv"}


def last_hidden(model: bytes) -> str | BlackBox:
    """Where the last hidden layer of a network is: whatever comes before it, only what comes after it has to be known.

    Args:
        model: an ONNX file's bytes, as a teacher keeps them.

    Returns:
        The name of the value that its last linear layer reads; or why there is none.
    """
    view = GraphView(onnx.load_model_from_string(model))
    last: dict[str, onnx.NodeProto] = {}
    for node in _upstream(view, LINKS, stop=_LINEAR):
        if node.op_type in _LINEAR:
            last[node.output[0]] = node
        elif node.op_type not in READERS:
            return BlackBox(f"{node.op_type} (node {node.name or node.output[0]}) is no layer")
    if len(last) != 1:
        return BlackBox(f"its answers come from {len(last)} linear layers, not from one")
    (value,) = (view.origin(node.input[0]) for node in last.values())
    if not any(node.op_type in _LEARNT for node in _upstream(view, value)):
        return BlackBox("it is linear: nothing is learnt before its last layer")
    return value


def _upstream(view: GraphView, value: str, stop: frozenset[str] = frozenset()) -> Iterator[onnx.NodeProto]:
    """The nodes that a value is computed by, each once; beyond those of a kind to stop at, nothing."""
    waiting, met = [value], set()
    while waiting:
        node = view.node(waiting.pop())
        if node is None or node.op_type == "Constant" or node.output[0] in met:
            continue
        met.add(node.output[0])
        yield node
        if node.op_type not in stop:
            waiting += filter(None, node.input)


def hidden_layer(teacher: OnnxTeacher, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """What a teacher's last hidden layer puts out for some rows of a dataset.

    Returns:
        (len(rows), units) float32.

    Raises:
        FusionError: the teacher has none that can be read, or does not fit the dataset.
    """
    found = last_hidden(teacher.model)
    if isinstance(found, BlackBox):
        raise FusionError(f"teacher {teacher.card.name}", got=found.reason, expected="a network with a hidden layer")
    model = onnx.load_model_from_string(teacher.model)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(found))
    session = open_session(model.SerializeToString(), f"teacher {teacher.card.name}")
    wanted = {value.name for value in session.get_inputs()}
    parts = []
    for features, sequences in inputs_of(teacher.card, dataset, rows):
        feed = {FEATURES: np.ascontiguousarray(features), SEQUENCES: sequences}
        parts.append(session.run([found], {name: feed[name] for name in wanted})[0].astype(np.float32))
    return np.concatenate(parts)
