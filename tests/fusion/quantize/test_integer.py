"""Products of integers: against their definition in NumPy, and bit by bit as ONNX Runtime carries them out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fusion.onnx_graph import Graph
from fusion.quantize.integer import ActivationGrid, IntegerProduct
from fusion.quantize.saturation import saturates
from fusion.quantize.uniform import Range
from tests.support.graphs import optimised_operators

F32 = np.float32


def _normal(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.0, scale, shape).astype(F32)


def _quantized(values: NDArray[np.float32], grid: ActivationGrid) -> NDArray[np.int64]:
    """QuantizeLinear of the ONNX specification, less the zero point."""
    codes = np.clip(np.rint(values / grid.step.numpy()) + grid.zero, 0, 255)
    return np.asarray(codes - grid.zero, dtype=np.int64)


def _oracle(
    product: IntegerProduct, x: NDArray[np.float32], matrix: NDArray[np.float32], bias: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    steps, read = product.steps.numpy(), product.inputs.step.numpy()
    weights = np.clip(np.rint(matrix / steps), -product.largest, product.largest).astype(np.int64)
    total = _quantized(x, product.inputs) @ weights
    if bias is not None:
        total += np.rint(bias / (read * steps)).astype(np.int64)
    if product.outputs is None:
        return np.asarray(total.astype(F32) * (read * steps))
    written = product.outputs.step.numpy()
    codes = np.clip(np.rint(total.astype(F32) * (read * steps / written)) + product.outputs.zero, 0, 255)
    return np.asarray((codes - product.outputs.zero).astype(F32) * written)


def _model(
    product: IntegerProduct, matrix: NDArray[np.float32], bias: NDArray[np.float32] | None, *, holes: bool = False
) -> bytes:
    graph = Graph("one product")
    name = None if bias is None else graph.constant(bias)
    value = product.add_to(graph, graph.input("x", (len(matrix),)), torch.from_numpy(matrix), name, holes=holes)
    if product.outputs is not None:
        value = product.outputs.add_to(graph, value)
    return graph.serialise(value, "y", matrix.shape[1])


def _run(model: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("inner", [5, 64, 1200], ids="{} inputs".format)  # 1,200: the sum is beyond float32
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("rows", [1, 300])
def test_torch_numpy_and_onnx_runtime_agree_to_the_bit(inner: int, with_bias: bool, rounded: bool, rows: int) -> None:
    matrix, x = _normal(inner, 24), _normal(rows, inner, seed=1, scale=3.0)
    x[0] *= 100  # outside of every range
    bias = _normal(24, seed=2) if with_bias else None
    inputs = ActivationGrid.fit(_normal(300, inner, seed=3, scale=3.0), Range.MIN_MAX)
    product = IntegerProduct.fit(inputs, matrix, bias, reach=Range.MSE, reduced=saturates())
    if rounded:
        product = replace(product, outputs=ActivationGrid.fit(x @ matrix, Range.PERCENTILE))
    with torch.no_grad():
        offset = None if bias is None else torch.from_numpy(bias)
        answered = product(torch.from_numpy(x), torch.from_numpy(matrix), offset).numpy()
    np.testing.assert_array_equal(answered, _oracle(product, x, matrix, bias))
    np.testing.assert_array_equal(answered, _run(_model(product, matrix, bias), x))


@given(
    values=hnp.arrays(F32, st.integers(1, 50), elements=st.floats(-1e4, 1e4, width=32)),
    reach=st.sampled_from(Range),
)
def test_zero_is_kept_and_the_error_is_half_a_step_or_what_goes(values: NDArray[np.float32], reach: Range) -> None:
    grid = ActivationGrid.fit(values, reach)
    step = float(grid.step)
    assert grid.codes(torch.zeros(1)).item() == 0.0
    assert 0 <= grid.zero <= 255
    codes = grid.codes(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(codes, _quantized(values, grid))
    inside = grid.clipped(torch.from_numpy(values)).numpy()
    assert (np.abs(codes * step - inside) <= step * 0.5001).all()
    if reach is Range.MIN_MAX:
        # The ends move by at most half a step, so that 0 falls on a code.
        assert (np.abs(inside - values) <= step * 0.5001).all()


def test_percentiles_and_squared_error_cut_off_a_single_outlier() -> None:
    values = np.append(np.abs(_normal(5000)), F32(1000.0))
    widest = float(ActivationGrid.fit(values, Range.MIN_MAX).step)
    assert float(ActivationGrid.fit(values, Range.PERCENTILE).step) < 0.01 * widest

    def error(reach: Range) -> float:
        grid = ActivationGrid.fit(values, reach)
        return float(np.square(_quantized(values, grid) * grid.step.numpy() - values).sum())

    assert error(Range.MSE) <= error(Range.MIN_MAX)


def test_a_column_of_next_to_nothing_does_not_overflow_its_bias() -> None:
    matrix, bias, x = _normal(8, 16) * F32(1e-20), _normal(16, seed=1), _normal(40, 8, seed=2)
    matrix[:, 0] = 0.0
    product = IntegerProduct.fit(ActivationGrid.fit(x, Range.MSE), matrix, bias, reach=Range.MSE, reduced=True)
    found = _run(_model(product, matrix, bias), x)
    np.testing.assert_allclose(found, np.broadcast_to(bias, found.shape), rtol=1e-6)


def test_holes_are_not_stored_and_stay_holes() -> None:
    matrix, x = _normal(128, 64), _normal(10, 128, seed=1)
    matrix[np.random.default_rng(2).random(matrix.shape) < 0.9] = 0.0
    product = IntegerProduct.fit(ActivationGrid.fit(x, Range.MSE), matrix, None, reach=Range.MSE, reduced=True)
    full, sparse = _model(product, matrix, None), _model(product, matrix, None, holes=True)
    np.testing.assert_array_equal(_run(full, x), _run(sparse, x))
    assert len(sparse) < 0.5 * len(full)
    assert optimised_operators(full) == optimised_operators(sparse)


def test_a_weight_takes_a_byte_in_the_file() -> None:
    matrix = _normal(256, 64)
    inputs = ActivationGrid.fit(_normal(10, 256), Range.MSE)
    product = IntegerProduct.fit(inputs, matrix, None, reach=Range.MSE, reduced=False)
    model = _model(product, matrix, None)
    (codes,) = (array for array in onnx.load_from_string(model).graph.initializer if len(array.dims) == 2)
    assert codes.data_type == onnx.TensorProto.INT8
    assert len(model) < 1.1 * matrix.size


def test_gradients_pass_the_rounding_and_stop_where_something_is_cut_off() -> None:
    matrix = torch.tensor(_normal(6, 5), requires_grad=True)
    bias = torch.tensor(_normal(5, seed=1), requires_grad=True)
    inputs = ActivationGrid.fit(_normal(50, 6, seed=2), Range.MIN_MAX)
    product = IntegerProduct.fit(inputs, matrix.detach().numpy(), None, reach=Range.MSE, reduced=True)
    x = torch.tensor(_normal(7, 6, seed=2) * F32(0.5), requires_grad=True)
    with torch.no_grad():
        x[0, 0] = 1e6
    upstream = torch.from_numpy(_normal(7, 5, seed=4))
    y = product(x, matrix, bias)
    np.testing.assert_allclose(y.detach(), product(x, matrix, bias).detach(), rtol=1e-5)
    by_x, by_matrix, by_bias = torch.autograd.grad(y, [x, matrix, bias], upstream)
    served = (product.codes(matrix) * product.steps).detach()
    expected = upstream @ served.T
    expected[0, 0] = 0.0
    np.testing.assert_allclose(by_x, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_matrix, inputs.clipped(x.detach()).T @ upstream, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_bias, upstream.sum(dim=0), rtol=1e-5)
    nothing = replace(product, outputs=ActivationGrid(torch.tensor(1e-9), 0))
    (by_x,) = torch.autograd.grad(nothing(x, matrix, bias), [x], upstream)
    assert not by_x.any()
