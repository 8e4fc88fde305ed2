"""Forms of stacked models: planted ones are recovered, metrics count, a new model comes in as a few numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.errors import FusionError
from fusion.lowrank import cp, tucker
from fusion.lowrank.form import numbers
from fusion.lowrank.hosvd import TruncatedHosvd
from fusion.lowrank.metric import Metric
from fusion.lowrank.stack_forms import anchored, basis, onboarded, per_model_svd

MODELS, OUT, IN = 6, 9, 11


def _root(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    half = rng.normal(size=(size, 2 * size))
    return np.asarray(half @ half.T)


def _metric(seed: int) -> Metric:
    rng = np.random.default_rng(seed)
    return Metric.from_second_moments(None, _root(OUT, rng), _root(IN, rng))


def _metrics(seed: int) -> list[Metric]:
    rng = np.random.default_rng(seed)
    return [Metric.from_second_moments(_root(OUT, rng), _root(IN, rng)) for _ in range(MODELS)]


def _relative(found: NDArray[np.float64], stack: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(found - stack) / np.linalg.norm(stack))


@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_planted_ranks_of_every_form_are_recovered_in_any_metric(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(MODELS, OUT, 2)), rng.normal(size=(MODELS, IN, 2))
    own = np.einsum("mor,mir->moi", left, right)
    svd = per_model_svd(own, 2, _metrics(seed))
    assert _relative(svd.to_tensor(), own) < 1e-6
    assert numbers(svd) == MODELS * 2 * (OUT + IN)

    ancestor = rng.normal(size=(OUT, IN))
    anchor, delta = anchored(own + ancestor, 2, _metrics(seed), ancestor)
    assert _relative(anchor.to_tensor() + delta.to_tensor(), own + ancestor) < 1e-6

    v = np.einsum("moc,ci->moi", rng.normal(size=(MODELS, OUT, 3)), rng.normal(size=(3, IN)))
    assert _relative(basis(v, 3, _metric(seed), "in").to_tensor(), v) < 1e-6
    u = np.einsum("oc,mci->moi", rng.normal(size=(OUT, 3)), rng.normal(size=(MODELS, 3, IN)))
    assert _relative(basis(u, 3, _metric(seed), "out").to_tensor(), u) < 1e-6


def test_a_basis_has_the_least_error_in_the_metric_of_both_sides() -> None:
    stack, metric = np.random.default_rng(0).normal(size=(MODELS, OUT, IN)), _metric(1)
    for side in ("in", "out"):
        best = basis(stack, 4, metric, side)
        plain = basis(stack, 4, Metric.plain(3), side)
        assert metric.error(stack, best.to_tensor()) < metric.error(stack, plain.to_tensor())
        bound = TruncatedHosvd(metric.whiten(stack), (2,) if side == "in" else (1,)).lost((4,))
        assert metric.error(stack, best.to_tensor()) ** 2 == pytest.approx(bound, rel=1e-6)


def test_balancing_keeps_every_model() -> None:
    rng = np.random.default_rng(2)
    svd = per_model_svd(rng.normal(size=(MODELS, OUT, IN)), 3, _metrics(2))
    skewed = svd.with_arrays({"left": svd.left * 1e3, "right": svd.right})
    level = skewed.balanced()
    np.testing.assert_allclose(level.to_tensor(), skewed.to_tensor(), rtol=1e-8)
    norms = [np.linalg.norm(array, axis=1) for array in (level.left, level.right)]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-8)


def test_copies_of_one_model_cost_one_model() -> None:
    model = np.random.default_rng(3).normal(size=(OUT, IN))
    stack = np.stack([model] * MODELS)
    assert TruncatedHosvd(stack, (0,)).lost((1,)) < 1e-12
    found = tucker.decompose(stack, (1, None, None), Metric.plain(3))
    assert _relative(found.to_tensor(), stack) < 1e-10
    assert numbers(found) == model.size + MODELS


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_planted_new_model_comes_in_exactly_by_as_many_numbers_as_the_rank(seed: int) -> None:
    rng = np.random.default_rng(seed)
    form = cp.Cp(tuple(rng.normal(size=(size, 4)) for size in (MODELS, OUT, IN)))
    scalars = rng.normal(size=4)
    new = (form.factors[1] * scalars) @ form.factors[2].T
    grown = onboarded(form, new, _metrics(seed)[0])
    np.testing.assert_allclose(grown.factors[0][-1], scalars, atol=1e-6)
    np.testing.assert_allclose(grown.to_tensor()[:-1], form.to_tensor(), atol=1e-12)
    assert numbers(grown) == numbers(form) + 4


def test_a_new_model_that_is_not_of_the_kind_comes_in_with_the_least_error_of_the_metric() -> None:
    rng = np.random.default_rng(4)
    form = cp.Cp(tuple(rng.normal(size=(size, 4)) for size in (MODELS, OUT, IN)))
    new, metric = rng.normal(size=(OUT, IN)), _metrics(4)[0]
    best = onboarded(form, new, metric).factors[0][-1]

    def error(scalars: NDArray[np.float64]) -> float:
        return metric.error(new, (form.factors[1] * scalars) @ form.factors[2].T)

    assert all(error(best) <= error(best + 0.01 * rng.normal(size=4)) for _ in range(50))


def test_an_ancestor_of_another_shape_is_refused() -> None:
    with pytest.raises(FusionError, match="ancestor of stacked models"):
        anchored(np.ones((MODELS, OUT, IN)), 1, _metrics(0), np.ones((OUT, IN + 1)))
