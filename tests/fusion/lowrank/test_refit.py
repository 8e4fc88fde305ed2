"""The refit never raises the cost of the error, finds the minimum where theory knows it, and keeps the mean answer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.lowrank import cp, tensor_train, tucker
from fusion.lowrank.form import Dense, Form
from fusion.lowrank.metric import Metric
from fusion.lowrank.refit import Drift, refit
from fusion.lowrank.sensitivity import Statistics
from fusion.lowrank.stack_forms import Anchored, anchored, basis, per_model_svd

_INPUT, _STACK, _MATRIX = (10, 4, 6), (3, 5, 8), (7, 9)
_CASES: dict[str, tuple[tuple[int, ...], int, Callable[[NDArray[np.float64]], Form]]] = {
    "cp matrix": (_MATRIX, 1, lambda t: cp.decompose(t, 3, Metric.plain(2))),
    "cp input": (_INPUT, 1, lambda t: cp.decompose(t, 5, Metric.plain(3))),
    "cp stack": (_STACK, 2, lambda t: cp.decompose(t, 4, Metric.plain(3))),
    "tucker input": (_INPUT, 1, lambda t: tucker.decompose(t, (3, 3, 4), Metric.plain(3))),
    "tucker input, core on the other side": (_INPUT, 1, lambda t: tucker.decompose(t, (4, 2, 2), Metric.plain(3))),
    "tucker stack": (_STACK, 2, lambda t: tucker.decompose(t, (None, 2, 4), Metric.plain(3))),
    "basis of the outputs": (_STACK, 2, lambda t: basis(t, 2, Metric.plain(3), "out")),
    "svd of each": (_STACK, 2, lambda t: per_model_svd(t, 2, [Metric.plain(2)] * 3)),
    "anchored": (_STACK, 2, lambda t: Anchored(*anchored(t, 2, [Metric.plain(2)] * 3))),
    "train input": (_INPUT, 1, lambda t: tensor_train.decompose(t, (3, 4), Metric.plain(3))),
    "train stack": (_STACK, 2, lambda t: tensor_train.decompose(t, (2, 4), Metric.plain(3))),
}


def _statistics(shape: tuple[int, ...], out_modes: int, rng: np.random.Generator) -> Statistics:
    outputs, inputs = int(np.prod(shape[:out_modes])), int(np.prod(shape[out_modes:]))
    x = rng.normal(size=(200, inputs)) @ rng.normal(size=(inputs, inputs)) + rng.normal(size=inputs)
    delta = rng.normal(size=(300, outputs)) * rng.gamma(0.5, size=outputs)
    return Statistics(x.T @ x / len(x), x.mean(axis=0), delta.T @ delta / len(delta))


def _cost(form: Form, tensor: NDArray[np.float64], statistics: Statistics) -> float:
    """Written down again, without the shrinkage: E of the squared change, in the bias-corrected layer."""
    matrix = (tensor - form.to_tensor()).reshape(len(statistics.gradients), -1)
    covariance = statistics.inputs - np.outer(statistics.mean, statistics.mean)
    return float(np.einsum("oi,ij,pj,op->", matrix, covariance, matrix, statistics.gradients, optimize=True))


@pytest.mark.parametrize("case", _CASES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_cost_falls_with_every_sweep(case: str, seed: int) -> None:
    shape, out_modes, decompose = _CASES[case]
    rng = np.random.default_rng(seed)
    tensor, statistics = rng.normal(size=shape), _statistics(shape, out_modes, rng)
    start = decompose(tensor)
    found, costs = refit(start, tensor, statistics, out_modes, 3)
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(costs))
    assert costs[1] < costs[0]
    # Shrinkage of 1e-4 of the mean eigenvalue may cost a little of what it gains.
    assert _cost(found, tensor, statistics) < _cost(start, tensor, statistics)
    assert {name: a.shape for name, a in found.arrays.items()} == {name: a.shape for name, a in start.arrays.items()}


def test_of_a_matrix_it_finds_the_minimum() -> None:
    rng = np.random.default_rng(0)
    tensor, statistics = rng.normal(size=_MATRIX), _statistics(_MATRIX, 1, rng)
    covariance = statistics.inputs - np.outer(statistics.mean, statistics.mean)
    best = cp.decompose(tensor, 3, Metric.from_second_moments(statistics.gradients, covariance))
    found, _ = refit(cp.decompose(tensor, 3, Metric.plain(2)), tensor, statistics, 1, 60)
    assert _cost(found, tensor, statistics) == pytest.approx(_cost(best, tensor, statistics), rel=0.02)


def test_an_array_at_its_minimum_has_no_slope() -> None:
    rng = np.random.default_rng(1)
    tensor, statistics = rng.normal(size=_INPUT), _statistics(_INPUT, 1, rng)
    found, _ = refit(_CASES["tucker input"][2](tensor), tensor, statistics, 1, 1)
    # The last array of a sweep was solved with all others as they are: moving it either way costs more.
    assert isinstance(found, tucker.Tucker)
    here = _cost(found, tensor, statistics)
    name = list(found.arrays)[-1]
    for _ in range(20):
        moved = found.arrays[name] + 1e-3 * rng.normal(size=found.arrays[name].shape)
        assert _cost(found.with_arrays({**found.arrays, name: moved}), tensor, statistics) > here * (1 - 1e-6)


def test_full_rank_stays_exact_and_dense_has_nothing_to_solve() -> None:
    rng = np.random.default_rng(2)
    tensor, statistics = rng.normal(size=_MATRIX), _statistics(_MATRIX, 1, rng)
    found, costs = refit(cp.decompose(tensor, 7, Metric.plain(2)), tensor, statistics, 1, 2)
    np.testing.assert_allclose(found.to_tensor(), tensor, atol=1e-8)
    assert max(costs) < 1e-12
    assert refit(Dense(tensor), tensor, statistics, 1, 1)[1] == [0.0, 0.0]


def test_each_behaviours_own_metric_beats_the_pooled_one() -> None:
    rng = np.random.default_rng(3)
    tensor = rng.normal(size=_STACK)
    inputs = np.eye(8)
    gradients = np.zeros((15, 15))
    for behaviour in range(3):
        block = np.diag(10.0 ** rng.uniform(-2, 2, size=5))
        gradients[behaviour * 5 : behaviour * 5 + 5, behaviour * 5 : behaviour * 5 + 5] = block
    statistics = Statistics(inputs, np.zeros(8), gradients)
    pooled = tucker.decompose(tensor, (None, 2, 4), statistics.metric(_STACK, 2, whole=True))
    found, _ = refit(pooled, tensor, statistics, 2, 2)
    assert _cost(found, tensor, statistics) < 0.9 * _cost(pooled, tensor, statistics)


def _inputs(rng: np.random.Generator, width: int) -> NDArray[np.float64]:
    return np.asarray(rng.normal(size=(400, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width))


def test_without_drift_the_target_stays_and_the_bias_answers_the_mean_input_exactly() -> None:
    rng = np.random.default_rng(4)
    tensor, statistics, x = rng.normal(size=_STACK), _statistics(_STACK, 2, rng), _inputs(rng, 8)
    drift = Drift.between(x, x, statistics)
    np.testing.assert_allclose(drift.target(tensor, 2), tensor, atol=1e-12)
    bias = rng.normal(size=(3, 5)).astype(np.float32)
    small = tucker.decompose(tensor, (None, 2, 2), Metric.plain(3)).to_tensor()
    corrected = drift.bias(bias, tensor, small)
    before, after = tensor @ x.mean(axis=0) + bias, small @ x.mean(axis=0) + corrected
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def test_inputs_that_were_mixed_are_unmixed_by_the_layer_that_reads_them() -> None:
    rng = np.random.default_rng(6)
    tensor, statistics, x = rng.normal(size=_MATRIX), _statistics(_MATRIX, 1, rng), rng.normal(size=(500, 9)) + 1.0
    mixing = np.eye(9) + 0.2 * rng.normal(size=(9, 9))
    drift = Drift.between(x, x @ mixing.T + 3.0, statistics)
    np.testing.assert_allclose(drift.target(tensor, 1) @ mixing, tensor, atol=5e-3)
    bias = rng.normal(size=7).astype(np.float32)
    answers = (x @ mixing.T + 3.0) @ drift.target(tensor, 1).T + drift.bias(bias, tensor, drift.target(tensor, 1))
    np.testing.assert_allclose(answers, x @ tensor.T + bias, atol=0.02)


def test_degenerate_statistics_do_no_harm() -> None:
    rng = np.random.default_rng(5)
    tensor = rng.normal(size=_MATRIX)
    nothing = Statistics(np.zeros((9, 9)), np.zeros(9), np.zeros((7, 7)))
    found, _ = refit(cp.decompose(tensor, 2, Metric.plain(2)), tensor, nothing, 1, 2)
    assert np.isfinite(found.to_tensor()).all()
    drift = Drift.between(np.ones((50, 9)), np.zeros((50, 9)), nothing)
    assert np.isfinite(drift.target(tensor, 1)).all()
