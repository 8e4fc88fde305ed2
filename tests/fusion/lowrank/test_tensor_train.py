"""Tensor train: exact recovery, the bound of the singular values cut off, balance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.errors import FusionError
from fusion.lowrank.metric import Metric
from fusion.lowrank.tensor_train import TensorTrain, decompose


def _planted(seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.asarray(
        np.einsum("ar,rbs,sc->abc", rng.normal(size=(9, 3)), rng.normal(size=(3, 5, 4)), rng.normal(size=(4, 8)))
    )


def _metric(shape: tuple[int, ...], seed: int) -> Metric:
    rng = np.random.default_rng(seed)
    roots = [rng.normal(size=(size, 2 * size)) for size in shape]
    return Metric.from_second_moments(*(root @ root.T for root in roots))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), plain=st.booleans())
def test_planted_ranks_are_recovered_in_any_metric(seed: int, plain: bool) -> None:
    tensor = _planted(seed)
    metric = Metric.plain(3) if plain else _metric(tensor.shape, seed)
    found = decompose(tensor, (3, 4), metric)
    assert np.linalg.norm(found.to_tensor() - tensor) <= 1e-6 * np.linalg.norm(tensor)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_error_is_within_the_bound_of_the_singular_values_cut_off(seed: int) -> None:
    tensor = np.random.default_rng(seed).normal(size=(6, 5, 4))
    found = decompose(tensor, (3, 2), Metric.plain(3)).to_tensor()
    cut = [
        (np.linalg.svd(tensor.reshape(size, -1), compute_uv=False)[rank:] ** 2).sum()
        for size, rank in [(6, 3), (30, 2)]
    ]
    # Oseledets 2011, theorem 2.2.
    assert np.linalg.norm(found - tensor) ** 2 <= sum(cut) + 1e-9
    assert np.linalg.norm(found - tensor) ** 2 >= max(cut) - 1e-9


def test_error_falls_with_rank_and_full_ranks_lose_nothing_in_a_metric() -> None:
    tensor = np.random.default_rng(0).normal(size=(8, 3, 5))
    metric = _metric((8, 3, 5), 1)
    errors = [metric.error(tensor, decompose(tensor, (r, min(r, 5)), metric).to_tensor()) for r in range(1, 9)]
    assert errors == sorted(errors, reverse=True)
    np.testing.assert_allclose(decompose(tensor, (8, 5), metric).to_tensor(), tensor, atol=1e-9)


def test_of_a_matrix_it_is_the_truncated_svd() -> None:
    matrix = np.random.default_rng(2).normal(size=(7, 5))
    values = np.linalg.svd(matrix, compute_uv=False)
    error = np.linalg.norm(decompose(matrix, (2,), Metric.plain(2)).to_tensor() - matrix)
    assert error == pytest.approx(np.sqrt((values[2:] ** 2).sum()), abs=1e-9)


def test_four_modes_are_a_train_too() -> None:
    tensor = np.random.default_rng(3).normal(size=(3, 4, 2, 5))
    found = decompose(tensor, (3, 10, 5), Metric.plain(4))
    np.testing.assert_allclose(found.to_tensor(), tensor, atol=1e-10)
    np.testing.assert_allclose(found.balanced().to_tensor(), tensor, atol=1e-10)


def test_balancing_keeps_the_tensor_and_levels_the_cores() -> None:
    cores = decompose(_planted(4), (3, 4), Metric.plain(3)).cores
    skewed = TensorTrain((cores[0] * 1e4, cores[1] * 1e-3, cores[2] * np.array([1.0, 1e3, 1.0, 1e-3])[:, None]))
    level = skewed.balanced()
    np.testing.assert_allclose(level.to_tensor(), skewed.to_tensor(), rtol=1e-6, atol=1e-8)
    sizes = [np.sqrt(np.mean(core**2)) for core in level.cores]
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-10)


def test_balancing_survives_a_zero_tensor_and_a_dead_component() -> None:
    dead = TensorTrain((np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])))
    np.testing.assert_allclose(dead.balanced().to_tensor(), dead.to_tensor(), rtol=1e-12)
    nothing = TensorTrain((np.zeros((2, 1)), np.zeros((1, 3))))
    np.testing.assert_array_equal(nothing.balanced().to_tensor(), np.zeros((2, 3)))


@pytest.mark.parametrize("ranks", [(0, 1), (7, 4), (3, 5), (2,), (1, 1, 1)])
def test_ranks_out_of_range_are_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(FusionError, match="expected"):
        decompose(np.ones((6, 5, 4)), ranks, Metric.plain(3))
