"""Tucker: exact recovery, the quasi-optimal bound, balance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.errors import FusionError
from fusion.lowrank.metric import Metric
from fusion.lowrank.tucker import Tucker, decompose


def _planted(shape: tuple[int, ...], ranks: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    factors = tuple(rng.normal(size=(size, rank)) for size, rank in zip(shape, ranks, strict=True))
    return Tucker(rng.normal(size=ranks), factors).to_tensor()


def _metric(shape: tuple[int, ...], seed: int) -> Metric:
    rng = np.random.default_rng(seed)
    roots = [rng.normal(size=(size, 2 * size)) for size in shape]
    return Metric.from_second_moments(*(root @ root.T for root in roots))


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), plain=st.booleans())
def test_planted_ranks_are_recovered_in_any_metric(seed: int, plain: bool) -> None:
    shape, ranks = (9, 7, 6), (3, 2, 4)
    tensor = _planted(shape, ranks, seed)
    metric = Metric.plain(3) if plain else _metric(shape, seed)
    found = decompose(tensor, ranks, metric).to_tensor()
    assert np.linalg.norm(found - tensor) <= 1e-6 * np.linalg.norm(tensor)


@pytest.mark.parametrize("ranks", [(None, 2, 4), (3, None, 4), (None, None, 4)])
def test_a_mode_that_stays_whole_is_weighed_and_given_back(ranks: tuple[int | None, ...]) -> None:
    shape = (9, 7, 6)
    tensor = _planted(shape, tuple(rank or size for rank, size in zip(ranks, shape, strict=True)), 3)
    found = decompose(tensor, ranks, _metric(shape, 3)).to_tensor()
    assert np.linalg.norm(found - tensor) <= 1e-6 * np.linalg.norm(tensor)


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_error_is_within_the_bound_of_the_singular_values_cut_off(seed: int) -> None:
    tensor = np.random.default_rng(seed).normal(size=(6, 5, 4))
    ranks = (3, 3, 2)
    found = decompose(tensor, ranks, Metric.plain(3)).to_tensor()
    cut = 0.0
    for mode, rank in enumerate(ranks):
        unfolded = np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)
        cut += float((np.linalg.svd(unfolded, compute_uv=False)[rank:] ** 2).sum())
    # De Lathauwer et al. 2000, property 10: truncation costs at most the sum of what all modes cut off.
    assert np.linalg.norm(found - tensor) ** 2 <= cut + 1e-9


def test_error_falls_with_rank() -> None:
    tensor = np.random.default_rng(0).normal(size=(8, 6, 5))
    errors = [
        Metric.plain(3).error(tensor, decompose(tensor, (r, r, r), Metric.plain(3)).to_tensor()) for r in range(1, 6)
    ]
    assert errors == sorted(errors, reverse=True)


def test_two_sided_metric_beats_the_plain_one_where_it_counts() -> None:
    tensor, metric = np.random.default_rng(1).normal(size=(10, 8, 6)), _metric((10, 8, 6), 2)
    plain = decompose(tensor, (4, 4, 3), Metric.plain(3)).to_tensor()
    assert metric.error(tensor, decompose(tensor, (4, 4, 3), metric).to_tensor()) < metric.error(tensor, plain)


def test_whole_modes_keep_a_core_per_behaviour() -> None:
    tensor = np.random.default_rng(3).normal(size=(8, 6, 5))
    found = decompose(tensor, (None, 6, 5), Metric.plain(3))
    assert found.core.shape == (8, 6, 5)
    assert found.factors[0] is None
    np.testing.assert_allclose(found.to_tensor(), tensor, atol=1e-10)
    untouched = decompose(tensor, (None, None, None), Metric.plain(3))
    np.testing.assert_array_equal(untouched.to_tensor(), tensor)


def test_balancing_keeps_the_tensor_and_levels_the_parts() -> None:
    rng = np.random.default_rng(4)
    form = Tucker(rng.normal(size=(2, 3, 2)) * 1e4, (rng.normal(size=(5, 2)), None, rng.normal(size=(4, 2)) * 1e-3))
    level = form.balanced()
    np.testing.assert_allclose(level.to_tensor(), form.to_tensor(), rtol=1e-10)
    sizes = [np.sqrt(np.mean(part**2)) for part in (level.core, *level.factors) if part is not None]
    np.testing.assert_allclose(sizes, sizes[0], rtol=1e-10)


def test_balancing_survives_a_zero_tensor() -> None:
    form = Tucker(np.zeros((2, 2)), (np.zeros((3, 2)), np.zeros((3, 2))))
    np.testing.assert_array_equal(form.balanced().to_tensor(), np.zeros((3, 3)))


@pytest.mark.parametrize("ranks", [(0, 1, 1), (9, 4, 4), (5, 2, 2), (2, 2)])
def test_ranks_out_of_range_are_refused(ranks: tuple[int, ...]) -> None:
    with pytest.raises(FusionError, match="expected"):
        decompose(np.ones((8, 4, 4)), ranks, Metric.plain(3))
