"""A layer gives the same answers as its weight tensor, whatever the form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusion.errors import FusionError
from fusion.lowrank import cp, tucker
from fusion.lowrank.layer import Form, LowRankLayer, decomposed
from fusion.lowrank.metric import Metric

_RNG = np.random.default_rng(0)
_INPUT = _RNG.normal(size=(10, 4, 6))
_STACK = _RNG.normal(size=(3, 5, 8))
_MATRIX = _RNG.normal(size=(7, 9))
_CASES: list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]] | Form, int]] = [
    ("dense input", _INPUT, 1),
    ("dense stack", _STACK, 2),
    ("cp matrix", cp.decompose(_MATRIX, 4, Metric.plain(2)), 1),
    ("cp input", cp.decompose(_INPUT, 5, Metric.plain(3)), 1),
    ("cp stack", cp.decompose(_STACK, 4, Metric.plain(3)), 2),
    ("tucker input, narrow output", tucker.decompose(_INPUT, (3, 3, 4), Metric.plain(3)), 1),
    ("tucker input, as narrow as its inputs", tucker.decompose(_INPUT, (4, 2, 2), Metric.plain(3)), 1),
    ("tucker stack, cores whole", tucker.decompose(_STACK, (None, 2, 4), Metric.plain(3)), 2),
    ("tucker stack, one unit wide", tucker.decompose(_STACK, (None, 1, 3), Metric.plain(3)), 2),
    ("tucker matrix", tucker.decompose(_MATRIX, (4, 4), Metric.plain(2)), 1),
    ("tucker, input whole", tucker.decompose(_MATRIX, (3, None), Metric.plain(2)), 1),
]


@pytest.mark.parametrize(("name", "form", "out_modes"), _CASES, ids=[case[0] for case in _CASES])
def test_forward_is_the_product_with_the_tensor(
    name: str, form: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | Form, out_modes: int
) -> None:
    layer = LowRankLayer(form, out_modes=out_modes)
    tensor = form if isinstance(form, np.ndarray) else form.to_tensor()
    matrix = tensor.reshape(int(np.prod(tensor.shape[:out_modes])), -1)
    x = np.random.default_rng(1).normal(size=(11, matrix.shape[1]))
    with torch.no_grad():
        got = layer(torch.tensor(x, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(got, x @ matrix.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.tensor(), tensor, rtol=1e-5, atol=1e-5)


def test_the_core_stands_where_the_chain_is_narrowest() -> None:
    wide_inputs = LowRankLayer(tucker.decompose(_INPUT, (3, 3, 4), Metric.plain(3)), out_modes=1)
    stack = LowRankLayer(tucker.decompose(_STACK, (None, 2, 4), Metric.plain(3)), out_modes=2)
    assert [product.shape for product in wide_inputs.products] == [(24, 3), (3, 10)]
    assert [product.shape for product in stack.products] == [(8, 4), (4, 15)]
    assert ["core" in product.arrays for product in stack.products] == [False, True]


def test_whole_modes_on_both_sides_are_refused() -> None:
    form = tucker.decompose(_STACK, (None, 2, None), Metric.plain(3))
    with pytest.raises(FusionError, match="whole modes"):
        LowRankLayer(form, out_modes=2)


@pytest.mark.parametrize("ranks", [6, (4, 3, 3)])
def test_decomposing_keeps_the_layer_near_its_tensor_and_trainable(ranks: int | tuple[int, ...]) -> None:
    layer = LowRankLayer(_INPUT, out_modes=1)
    small = decomposed(layer, ranks, Metric.plain(3), seed=0)
    assert sum(p.numel() for p in small.parameters()) < _INPUT.size
    assert Metric.plain(3).error(_INPUT, small.tensor()) < 0.9
    small(torch.ones(2, 24)).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
