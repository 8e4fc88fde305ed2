"""Files of somebody else's making that cannot be used: each is told for what it is, before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from fusion.errors import FusionError
from fusion.teachers.foreign import ForeignModel
from tests.support.foreign_models import WEIGHTS, linear, matrix

if TYPE_CHECKING:
    from pathlib import Path


def _refused(model: onnx.ModelProto, message: str) -> None:
    with pytest.raises(FusionError, match=message):
        ForeignModel(model.SerializeToString(), "m.onnx")


def test_a_sound_model_is_read() -> None:
    model = ForeignModel(linear(WEIGHTS, bias=0.5).SerializeToString(), "m.onnx")
    assert [(value.name, value.shape, value.is_integer) for value in model.inputs] == [("x", (None, 2), False)]
    assert model.outputs == ("y",)
    assert model.parameters == 3
    rows = matrix((1.0, 2.0), (3.0, 4.0))
    np.testing.assert_allclose(model.run({"x": rows})["y"], rows @ WEIGHTS + 0.5, rtol=1e-6)


@given(kept=st.integers(0, len(linear(WEIGHTS).SerializeToString()) - 1))
def test_a_truncated_file_is_refused_wherever_it_was_cut(kept: int) -> None:
    try:
        model = ForeignModel(linear(WEIGHTS).SerializeToString()[:kept], "m.onnx")
    except FusionError:
        return
    # What was cut off says nothing about the graph: which operators' versions it wants, at the file's end.
    assert model.run({"x": matrix((1.0, 2.0))})["y"].shape == (1, 1)


def test_what_is_no_onnx_is_refused() -> None:
    for content in (b"", b"\x00" * 100, b"not a model"):
        with pytest.raises(FusionError, match=r"m\.onnx: got"):
            ForeignModel(content, "m.onnx")


def test_nan_among_the_weights_is_refused() -> None:
    _refused(linear(matrix((0.1,), (np.nan,))), "m.onnx, weight w: got NaN in 1 of 2 numbers")
    constant = linear(WEIGHTS)
    stored = numpy_helper.from_array(matrix((np.nan,), (np.nan,)), "")
    constant.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=stored))
    del constant.graph.initializer[0]
    _refused(constant, "weight without a name: got NaN in 2 of 2 numbers")


def test_nan_in_the_numbers_of_an_operator_is_refused() -> None:
    node = helper.make_node(
        "LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[1.0, np.nan], intercepts=[0.0]
    )
    model = linear(WEIGHTS)
    del model.graph.node[:]
    model.graph.node.append(node)
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    _refused(model, "weight coefficients: got NaN in 1 of 2 numbers")


def test_one_nan_may_stand_for_what_is_missing() -> None:
    model = linear(WEIGHTS)
    model.graph.initializer.append(numpy_helper.from_array(np.array(np.nan, dtype=np.float32), "missing"))
    model.graph.node.insert(1, helper.make_node("Add", ["x32", "missing"], ["unused"]))
    assert ForeignModel(model.SerializeToString(), "m.onnx").parameters == 4


def test_an_unknown_operator_is_named() -> None:
    _refused(linear(WEIGHTS, kind="MatMull"), "got the unknown operator MatMull; did you mean 'MatMul'")
    _refused(linear(WEIGHTS, kind="Secret", domain="studio"), r"got .*studio:Secret.*, expected an ONNX model that")


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(linear(WEIGHTS), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    with pytest.raises(FusionError, match=r"got weights in another file, model.onnx.data.*onnx.save") as caught:
        ForeignModel(path.read_bytes(), "m.onnx")
    # What it tells to do helps.
    assert "onnx.save(onnx.load('model.onnx'), 'model.onnx')" in caught.value.fix
    onnx.save(onnx.load(path), path)
    assert ForeignModel(path.read_bytes(), "m.onnx").parameters == 3


def test_inputs_and_outputs_of_another_sort_are_refused() -> None:
    _refused(linear(WEIGHTS, rows_axis=1), "m.onnx, input x: got a fixed number of rows, 1, expected any number")
    text = linear(WEIGHTS, element=TensorProto.STRING)
    _refused(text, r"m.onnx, input x: got string of shape \(None, 2\)")
    labels = linear(WEIGHTS)
    labels.graph.node.append(helper.make_node("Cast", ["y"], ["label"], to=TensorProto.INT64))
    labels.graph.output[0].CopyFrom(helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1]))
    _refused(labels, "m.onnx: got 1 inputs, outputs label, expected .* output of floating-point numbers")


def test_a_batch_that_is_fixed_inside_is_found_out() -> None:
    model = linear(WEIGHTS)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "shape"))
    model.graph.node.insert(1, helper.make_node("Reshape", ["x32", "shape"], ["row"]))
    model.graph.node[2].input[0] = "row"
    foreign = ForeignModel(model.SerializeToString(), "m.onnx")
    with pytest.raises(FusionError, match="got failing on 3 rows"):
        foreign.run({"x": np.zeros((3, 2), dtype=np.float32)})


def test_answers_that_are_not_by_row_are_refused() -> None:
    model = linear(WEIGHTS)
    model.graph.node.append(helper.make_node("ReduceSum", ["y"], ["total"], keepdims=0))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("total", TensorProto.FLOAT, []))
    with pytest.raises(FusionError, match=r"output total: got shape \(\) for 3 rows, expected one number or several"):
        ForeignModel(model.SerializeToString(), "m.onnx").run({"x": np.zeros((3, 2), dtype=np.float32)})


def test_operators_that_changed_since_are_brought_up_to_date() -> None:
    model = linear(WEIGHTS)
    model.opset_import[0].version = 7
    model.ir_version = 3
    # At that time, weights were inputs as well.
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 1]))
    model.graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [1]))
    foreign = ForeignModel(model.SerializeToString(), "m.onnx")
    assert [value.name for value in foreign.inputs] == ["x"]
    assert foreign.run({"x": matrix((100.0, 0.0))})["y"][0, 0] == pytest.approx(1.0)
