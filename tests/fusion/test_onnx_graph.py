"""Graphs built node by node."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from fusion.onnx_graph import Graph


def _linear() -> bytes:
    graph = Graph("test")
    value = graph.linear(graph.input("x", (2,)), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.ones(3))
    return graph.serialise(value, "y", 3)


def test_a_linear_layer_is_that_of_torch() -> None:
    session = onnxruntime.InferenceSession(_linear(), providers=["CPUExecutionProvider"])
    rows = np.array([[1.0, 10.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_array_equal(session.run(["y"], {"x": rows})[0], [[22, 44, 66], [1, 1, 1]])


def test_the_same_graph_is_the_same_bytes() -> None:
    assert _linear() == _linear()


def test_a_later_output_of_an_operator_can_be_taken() -> None:
    graph = Graph("test")
    steps = graph.op("Transpose", graph.input("x", (4, 1)), perm=[1, 0, 2])
    # Weights 0 and a bias of 1 on the input: the state is tanh(1) after one step; output 1 is the last state.
    weights = (graph.constant(np.zeros((1, 1, 1))), graph.constant(np.zeros((1, 1, 1))))
    state = graph.op("RNN", steps, *weights, graph.constant([[1.0, 0.0]]), output=1, hidden_size=1)
    model = graph.serialise(graph.op("Squeeze", state, graph.constant([0], np.int64)), "y", 1)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got = session.run(["y"], {"x": np.zeros((3, 4, 1), dtype=np.float32)})[0]
    np.testing.assert_allclose(got, np.full((3, 1), np.tanh(1.0)), rtol=1e-5)


def test_an_impossible_graph_is_refused_when_it_is_built() -> None:
    graph = Graph("test")
    value = graph.op("MatMul", graph.input("x", (2,)), graph.constant(np.ones((3, 1))))
    with pytest.raises(onnx.shape_inference.InferenceError):
        graph.serialise(value, "y", 1)


def test_scalars_stay_scalars() -> None:
    graph = Graph("test")
    graph.constant(1.0)
    model = onnx.load_from_string(graph.serialise(graph.input("x", (1,)), "y", 1))
    assert list(model.graph.initializer[0].dims) == []


def test_another_graph_is_included_under_names_of_its_own() -> None:
    inner = onnx.load_model_from_string(_linear())
    inner.opset_import[0].version = 17
    inner.ir_version = 10
    graph = Graph("outer")
    # The same names as inside: the constants of both are c0 and c1, the nodes v0.
    doubled = graph.linear(graph.input("x", (2,)), np.array([[2.0, 0.0], [0.0, 2.0]]), np.zeros(2))
    outputs = graph.include(inner, {"x": doubled})
    assert list(outputs) == ["y"]
    model = graph.serialise(outputs["y"], "y", 3)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rows = np.array([[0.5, 5.0]], dtype=np.float32)
    np.testing.assert_array_equal(session.run(["y"], {"x": rows})[0], [[22, 44, 66]])
    loaded = onnx.load_model_from_string(model)
    assert loaded.ir_version == 10
    assert {opset.domain: opset.version for opset in loaded.opset_import}[""] == 17
