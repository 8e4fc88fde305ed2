"""A layer gives the same answers as its weight tensor, whatever the form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fusion.lowrank import cp, tensor_train, tucker
from fusion.lowrank.form import Form
from fusion.lowrank.layer import LowRankLayer
from fusion.lowrank.metric import Metric
from fusion.lowrank.stack_forms import Anchored, anchored, basis, per_model_svd

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
    ("train matrix", tensor_train.decompose(_MATRIX, (4,), Metric.plain(2)), 1),
    ("train input", tensor_train.decompose(_INPUT, (5, 4), Metric.plain(3)), 1),
    ("train stack", tensor_train.decompose(_STACK, (3, 4), Metric.plain(3)), 2),
    ("basis of the inputs", basis(_STACK, 3, Metric.plain(3), "in"), 2),
    ("basis of the outputs", basis(_STACK, 3, Metric.plain(3), "out"), 2),
    ("svd of each", per_model_svd(_STACK, 2, [Metric.plain(2)] * 3), 2),
    ("anchored", Anchored(*anchored(_STACK, 2, [Metric.plain(2)] * 3)), 2),
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


@pytest.mark.parametrize("case", ["basis of the outputs", "svd of each", "anchored"])
def test_forms_with_nothing_narrow_between_are_one_product(case: str) -> None:
    form = next(form for name, form, _ in _CASES if name == case)
    assert not isinstance(form, np.ndarray)
    layer = LowRankLayer(form, out_modes=2)
    assert [product.shape for product in layer.products] == [(8, 15)]
    np.testing.assert_allclose(layer.multiplied().tensor(), layer.tensor(), atol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        cp.decompose(_INPUT, 6, Metric.plain(3)),
        tucker.decompose(_INPUT, (4, 3, 3), Metric.plain(3)),
        tensor_train.decompose(_INPUT, (4, 3), Metric.plain(3)),
    ],
    ids=["cp", "tucker", "train"],
)
def test_another_form_keeps_the_layer_near_its_tensor_and_trainable(form: Form) -> None:
    layer = LowRankLayer(_INPUT, out_modes=1, bias=np.arange(10, dtype=np.float32))
    small = layer.in_form(form)
    assert small.shape == layer.shape
    assert sum(p.numel() for p in small.parameters()) < _INPUT.size
    assert Metric.plain(3).error(_INPUT, small.tensor()) < 0.9
    np.testing.assert_array_equal(small.bias.numpy(), np.arange(10))
    small(torch.ones(2, 24)).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


@pytest.mark.parametrize(("name", "form", "out_modes"), _CASES, ids=[case[0] for case in _CASES])
def test_a_component_can_be_removed_and_a_mode_thinned_out(
    name: str, form: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | Form, out_modes: int
) -> None:
    layer = LowRankLayer(form, out_modes=out_modes)
    for units in layer.components("layer"):
        if units.count > 1:
            before = layer.tensor()
            # A component that is multiplied by nothing can go unnoticed.
            ((weight, axis),) = units.gate
            with torch.no_grad():
                weight.array.select(axis, 0).zero_()
            silent = layer.tensor()
            units.keep(np.arange(1, units.count))
            layer.replan()
            np.testing.assert_allclose(layer.tensor(), silent, atol=1e-6)
            # In a Tucker form of a matrix the other mode has lost its partner with it.
            assert np.linalg.norm(before - silent) > 1e-3 or before.ndim == 2
    expected = layer.tensor()
    last = len(layer.shape) - 1
    for weight, axis in layer.mode_slices(last):
        weight.select(axis, np.array([0, 2, 3]))
    layer.replan()
    np.testing.assert_allclose(layer.tensor(), expected[..., [0, 2, 3]], atol=1e-6)
    matrix = layer.tensor().reshape(-1, int(np.prod(layer.shape[out_modes:])))
    x = torch.ones(1, matrix.shape[1])
    np.testing.assert_allclose(layer(x).detach().numpy()[0], matrix.sum(axis=1), rtol=1e-3, atol=1e-3)
