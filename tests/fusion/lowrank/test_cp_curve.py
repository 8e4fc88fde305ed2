"""The loss of every CP rank: the spectrum of a matrix, measured for a tensor, falling either way."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.lowrank import cp
from fusion.lowrank.cp_curve import CpCurve
from fusion.lowrank.metric import Metric


def test_of_a_matrix_the_spectrum_tells() -> None:
    matrix = np.random.default_rng(0).normal(size=(6, 9))
    curve = CpCurve(matrix, 0)
    for rank in range(1, 7):
        lost = Metric.plain(2).error(matrix, cp.decompose(matrix, rank, Metric.plain(2)).to_tensor()) ** 2
        assert curve.lost(rank) == pytest.approx(lost, abs=1e-12)


def test_of_a_tensor_it_falls_and_ends_at_the_planted_rank() -> None:
    rng = np.random.default_rng(1)
    tensor = cp.Cp(tuple(rng.normal(size=(size, 3)) for size in (6, 7, 8))).to_tensor()
    curve = CpCurve(tensor, 0)
    lost = [curve.lost(rank) for rank in range(1, 14)]
    assert lost == sorted(lost, reverse=True)
    assert lost[1] > 0.01
    assert lost[2] < 1e-3


def test_nothing_loses_nothing() -> None:
    assert CpCurve(np.zeros((3, 4)), 0).lost(1) == 0.0
