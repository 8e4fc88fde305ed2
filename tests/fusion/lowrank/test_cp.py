"""CP: exact recovery, the best approximation of a matrix, balance, onboarding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import FusionError
from fusion.lowrank.cp import Cp, decompose
from fusion.lowrank.metric import Metric


def _planted(shape: tuple[int, ...], rank: int, seed: int) -> Cp:
    rng = np.random.default_rng(seed)
    return Cp(tuple(rng.normal(size=(size, rank)) for size in shape))


def test_planted_rank_is_recovered() -> None:
    tensor = _planted((8, 7, 9), 3, 0).to_tensor()
    found = decompose(tensor, 3, Metric.plain(3)).to_tensor()
    assert np.linalg.norm(found - tensor) <= 1e-4 * np.linalg.norm(tensor)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 5))
def test_of_a_matrix_it_is_the_truncated_svd(seed: int, rank: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(7, 5))
    values = np.linalg.svd(matrix, compute_uv=False)
    error = np.linalg.norm(decompose(matrix, rank, Metric.plain(2)).to_tensor() - matrix)
    assert error == pytest.approx(np.sqrt((values[rank:] ** 2).sum()), abs=1e-9)


def test_of_a_matrix_in_a_metric_nothing_of_that_rank_is_better() -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(7, 5))
    metric = Metric.from_second_moments(np.diag(np.arange(1.0, 8.0)), np.diag([9.0, 1.0, 4.0, 1.0, 0.1]))
    best = metric.error(matrix, decompose(matrix, 2, metric).to_tensor())
    others = [metric.error(matrix, _planted((7, 5), 2, seed).to_tensor()) for seed in range(50)]
    assert best <= metric.error(matrix, decompose(matrix, 2, Metric.plain(2)).to_tensor())
    assert best <= min(others)


def test_full_rank_matrix_in_a_metric_is_exact() -> None:
    matrix = np.random.default_rng(2).normal(size=(4, 6))
    metric = Metric.from_second_moments(np.diag([1.0, 2.0, 3.0, 4.0]), None)
    np.testing.assert_allclose(decompose(matrix, 4, metric).to_tensor(), matrix, atol=1e-10)


def test_balancing_keeps_the_tensor_and_levels_every_component() -> None:
    form = _planted((4, 3, 5), 2, 3)
    skewed = Cp((form.factors[0] * 1e5, form.factors[1] * 1e-3, form.factors[2]))
    level = skewed.balanced()
    np.testing.assert_allclose(level.to_tensor(), skewed.to_tensor(), rtol=1e-10)
    norms = [np.linalg.norm(factor, axis=0) for factor in level.factors]
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-10)
    np.testing.assert_allclose(norms[2], norms[0], rtol=1e-10)


def test_balancing_drops_a_dead_component_cleanly() -> None:
    factors = (np.array([[1.0, 0.0]]), np.array([[2.0, 3.0]]))
    level = Cp(factors).balanced()
    assert np.isfinite(level.to_tensor()).all()
    np.testing.assert_allclose(level.to_tensor(), [[2.0]])


@pytest.mark.parametrize(("shape", "rank"), [((4, 3), 4), ((4, 3), 0), ((2, 2, 2), 5)])
def test_rank_out_of_range_is_refused(shape: tuple[int, ...], rank: int) -> None:
    with pytest.raises(FusionError, match="CP rank: got"):
        decompose(np.ones(shape), rank, Metric.plain(len(shape)))
