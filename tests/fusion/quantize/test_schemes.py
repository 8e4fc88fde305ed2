"""Every scheme against its definition, and as ONNX Runtime decodes it."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fusion.onnx_graph import Graph
from fusion.quantize.codebook import Codebook, KMeansCodebook, PowerOfTwo
from fusion.quantize.half import Half
from fusion.quantize.packing import packed
from fusion.quantize.uniform import Range, Uniform
from fusion.weight import Weight
from tests.support.graphs import optimised_operators

SCHEMES = [
    *(Uniform(bits=bits, range=reach) for bits in (8, 4, 2) for reach in Range),
    Uniform(per_channel=False),
    Uniform(symmetric=False, bits=4),
    Uniform(symmetric=False, bits=2, reduce_range=True),
    Uniform(reduce_range=True),
    *(KMeansCodebook(bits=bits) for bits in (8, 4, 2)),
    *(PowerOfTwo(bits=bits) for bits in (8, 4, 2)),
    Half(),
]
NAMES = [scheme.model_dump_json() for scheme in SCHEMES]
Scheme = Uniform | KMeansCodebook | PowerOfTwo | Half


def _array(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_t(4, size=shape).astype(np.float32)


def _loaded(weight: Weight) -> tuple[NDArray[np.float32], int]:
    """The array as ONNX Runtime has it, and the bytes of the file."""
    graph = Graph("one array")
    rows = graph.input("rows", (1,))
    array = weight.array.shape
    flat = graph.op("Reshape", weight.add_to(graph), graph.constant((1, -1), np.int64))
    model = graph.serialise(
        graph.op("Add", graph.op("Mul", rows, graph.constant(0.0)), flat), "out", weight.array.numel()
    )
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"rows": np.zeros((1, 1), np.float32)})
    return np.asarray(found).reshape(tuple(array)), len(model)


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
@pytest.mark.parametrize("shape", [(37,), (12, 5), (4, 3, 7)], ids=str)
@pytest.mark.parametrize("holes", [False, True])
def test_what_is_loaded_is_what_was_trained(scheme: Scheme, shape: tuple[int, ...], holes: bool) -> None:
    weight = Weight(_array(*shape))
    if holes:
        weight.mask = torch.from_numpy((np.random.default_rng(1).random(shape) < 0.4).astype(np.float32))
    weight.grid = scheme.fit(weight.numpy())
    found, _ = _loaded(weight)
    np.testing.assert_allclose(found, weight.numpy(), rtol=1e-6, atol=1e-7)
    if weight.mask is not None:
        assert not found[weight.mask.numpy() == 0].any()


@pytest.mark.parametrize("scheme", SCHEMES, ids=NAMES)
def test_rounding_is_to_the_nearest_value_and_repeats_itself(scheme: Scheme) -> None:
    array = _array(40, 6)
    grid = scheme.fit(array)
    once = grid.rounded(array)
    np.testing.assert_allclose(grid.rounded(once), once, rtol=1e-6)
    if isinstance(scheme, KMeansCodebook | PowerOfTwo):
        assert isinstance(grid, Codebook)
        nearest = np.abs(array[..., None] - grid.values).min(axis=-1)
        np.testing.assert_allclose(np.abs(array - once), nearest, atol=1e-6)


def test_the_error_of_equal_steps_is_at_most_half_a_step() -> None:
    array = _array(50, 8)
    for scheme in (Uniform(range=Range.MIN_MAX), Uniform(range=Range.MIN_MAX, symmetric=False, bits=4)):
        grid = scheme.fit(array)
        error = np.abs(grid.rounded(array) - array)
        assert (error <= grid.step / 2 * (1 + 1e-4)).all()


def test_a_symmetric_grid_has_an_exact_zero() -> None:
    grid = Uniform().fit(_array(30, 4))
    zero = np.zeros((30, 4), np.float32)
    np.testing.assert_allclose(grid.rounded(zero), zero, atol=1e-6)


def test_the_search_for_the_least_squared_error_beats_the_full_range() -> None:
    array = np.concatenate((_array(5000), np.array([80.0], np.float32)))

    def error(reach: Range) -> float:
        grid = Uniform(bits=4, range=reach).fit(array)
        return float(np.square(grid.rounded(array) - array).sum())

    assert error(Range.MSE) <= error(Range.MIN_MAX)


def test_k_means_beats_equal_steps_where_numbers_crowd() -> None:
    array = _array(3000)

    def error(scheme: Scheme) -> float:
        grid = scheme.fit(array)
        return float(np.square(grid.rounded(array) - array).sum())

    assert error(KMeansCodebook(bits=4)) < error(Uniform(bits=4))


def test_powers_of_two_are_powers_of_two() -> None:
    values = PowerOfTwo(bits=4).fit(_array(100)).values
    positive = values[values > 0]
    assert 0.0 in values
    assert len(values) <= 16
    np.testing.assert_array_equal(np.log2(positive), np.rint(np.log2(positive)))


@pytest.mark.parametrize("scheme", [Uniform(), KMeansCodebook(), PowerOfTwo(), Half()], ids=lambda s: s.scheme)
def test_nothing_but_zeros_stays_zeros(scheme: Scheme) -> None:
    array = np.zeros((6, 3), np.float32)
    grid = scheme.fit(array)
    np.testing.assert_array_equal(grid.rounded(array), array)


def test_numbers_beyond_half_precision_become_its_largest() -> None:
    assert np.isfinite(Half().rounded(np.array([1e30, -1e30], np.float32))).all()


@given(
    bits=st.sampled_from((8, 4, 2, 1)),
    codes=hnp.arrays(np.uint8, st.integers(1, 60), elements=st.integers(0, 255)),
)
def test_packing_keeps_every_code(bits: int, codes: NDArray[np.uint8]) -> None:
    small = codes & np.uint8(2**bits - 1)
    bytes_ = packed(small, bits)
    assert len(bytes_) == -(-len(codes) * bits // 8)
    back = (bytes_[:, None] >> (bits * np.arange(8 // bits))) & (2**bits - 1)
    np.testing.assert_array_equal(back.ravel()[: len(codes)], small)


def test_files_really_shrink() -> None:
    array = _array(256, 64)
    sizes = {}
    for scheme in (None, Half(), Uniform(bits=8), Uniform(bits=4), KMeansCodebook(bits=4), Uniform(bits=2)):
        weight = Weight(array)
        weight.grid = None if scheme is None else scheme.fit(array)
        sizes[scheme.model_dump_json() if scheme else "float32"] = _loaded(weight)[1] / array.size
    bytes_per_number = list(sizes.values())
    np.testing.assert_allclose(bytes_per_number, [4, 2, 1, 0.5, 0.5, 0.25], atol=0.15)
    sparse = Weight(array)
    sparse.mask = torch.from_numpy((np.abs(array) > np.quantile(np.abs(array), 0.9)).astype(np.float32))
    assert _loaded(sparse)[1] / array.size == pytest.approx(4 * 0.1 + 1 / 8, abs=0.15)


@pytest.mark.parametrize("scheme", [None, Uniform(bits=4), KMeansCodebook(), Half()], ids=str)
@pytest.mark.parametrize("kept_share", [0.0, 0.3])
def test_decoding_and_holes_are_worked_out_at_load(scheme: Scheme | None, kept_share: float) -> None:
    weight = Weight(_array(24, 10))
    weight.mask = torch.from_numpy((np.random.default_rng(1).random((24, 10)) < kept_share).astype(np.float32))
    weight.grid = None if scheme is None else scheme.fit(weight.numpy())
    found, _ = _loaded(weight)
    np.testing.assert_allclose(found, weight.numpy(), rtol=1e-6, atol=1e-7)
    graph = Graph("one product")
    product = graph.op("MatMul", graph.input("rows", (24,)), weight.add_to(graph))
    assert optimised_operators(graph.serialise(product, "out", 10)) == {"MatMul": 1}


def test_gradients_pass_the_rounding() -> None:
    weight = Weight(_array(5, 4))
    weight.grid = Uniform(bits=2).fit(weight.numpy())
    (weight() * 3.0).sum().backward()
    assert weight.array.grad is not None
    np.testing.assert_array_equal(weight.array.grad.numpy(), np.full((5, 4), 3.0, np.float32))
