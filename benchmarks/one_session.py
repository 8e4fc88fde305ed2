"""All teachers in one ONNX graph: what is left of the gain when nobody runs a session per model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper

from fusion.onnx_graph import IR_VERSION, ML_DOMAIN, ML_OPSET, OPSET
from fusion.teachers.onnx_teacher import FEATURES, LINKS, SEQUENCES
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fusion.teachers.onnx_teacher import OnnxTeacher


def one_graph(teachers: Sequence[OnnxTeacher], feature_names: Sequence[str]) -> bytes:
    """Inputs: all features of the dataset, and the sequences where one reads them; output: all links side by side."""
    nodes, constants, outputs = [], [], []
    inputs = [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["rows", len(feature_names)])]
    if any(teacher.card.uses_sequences for teacher in teachers):
        shape: list[str | int | None] = ["rows", SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)]
        inputs.append(helper.make_tensor_value_info(SEQUENCES, TensorProto.FLOAT, shape))
    for number, teacher in enumerate(teachers):
        prefix = f"teacher{number}_"
        graph = compose.add_prefix(onnx.load_from_string(teacher.model), prefix).graph
        columns = np.array([feature_names.index(name) for name in teacher.card.features], dtype=np.int64)
        constants += [*graph.initializer, numpy_helper.from_array(columns, f"{prefix}columns")]
        given = {value.name for value in graph.input}
        if prefix + FEATURES in given:
            nodes.append(helper.make_node("Gather", [FEATURES, f"{prefix}columns"], [prefix + FEATURES], axis=1))
        if prefix + SEQUENCES in given:
            nodes.append(helper.make_node("Identity", [SEQUENCES], [prefix + SEQUENCES]))
        nodes += graph.node
        outputs.append(prefix + LINKS)
    nodes.append(helper.make_node("Concat", outputs, [LINKS], axis=1))
    graph = helper.make_graph(
        nodes,
        "teachers",
        inputs,
        [helper.make_tensor_value_info(LINKS, TensorProto.FLOAT, ["rows", None])],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())


def scorer(
    model: bytes, features: NDArray[np.float32], sequences: NDArray[np.float32] | None
) -> Callable[[], NDArray[np.float32]]:
    """Scores these players, on one thread; a graph that reads sequences has to be given some."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {FEATURES: features} if sequences is None else {FEATURES: features, SEQUENCES: sequences}
    return lambda: np.asarray(session.run([LINKS], feed)[0])
