"""EVBMF finds planted ranks in noise, and shows where it is no guide."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.lowrank.evbmf import rank_hint


@pytest.mark.parametrize("rank", [0, 1, 4, 10])
@pytest.mark.parametrize("shape", [(60, 200), (200, 60), (120, 120)])
def test_a_planted_rank_is_found_in_noise(shape: tuple[int, int], rank: int) -> None:
    rng = np.random.default_rng(rank)
    signal = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    assert rank_hint(signal + 0.5 * rng.normal(size=shape)) == rank


def test_the_scale_of_the_matrix_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 90)) + rng.normal(size=(40, 90))
    assert rank_hint(1e-6 * matrix) == rank_hint(matrix) == rank_hint(1e6 * matrix) == 3


def test_weak_components_drown_in_noise() -> None:
    rng = np.random.default_rng(1)
    strong, weak = (np.linalg.qr(rng.normal(size=(size, 2)))[0] for size in (60, 200))
    noise = rng.normal(size=(60, 200))
    # The largest singular value of noise is about √60 + √200 = 22.
    assert rank_hint(strong * [200.0, 2.0] @ weak.T + noise) == 1


def test_nothing_has_rank_zero() -> None:
    assert rank_hint(np.zeros((4, 5))) == 0


def test_a_matrix_without_noise_keeps_all_it_has() -> None:
    rng = np.random.default_rng(2)
    assert rank_hint(rng.normal(size=(30, 5)) @ rng.normal(size=(5, 40))) == 5
