"""Ensemble selection: listens to whoever helps, and to nobody else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fusion.distill.selection import select_weights
from fusion.evaluate import quality
from inference.contract.behaviours import DEFAULT_BEHAVIOURS

_CHURN = DEFAULT_BEHAVIOURS["churn_7d"]
_HOURS = DEFAULT_BEHAVIOURS["playtime_7d_hours"]


def _world(seed: int = 0, rows: int = 4000) -> tuple[np.random.Generator, NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng, rng.normal(size=rows)


def test_two_that_know_different_things_are_averaged_and_noise_is_left_out() -> None:
    rng, truth = _world()
    other = rng.normal(size=len(truth))
    labels = (rng.random(len(truth)) < 1 / (1 + np.exp(-truth - other))).astype(np.float32)
    links = np.stack([truth, other, rng.normal(size=len(truth))]).astype(np.float32)
    weights = select_weights(links, labels, np.arange(len(labels)), _CHURN)
    assert weights.sum() == pytest.approx(1.0)
    assert abs(weights[0] - 0.5) < 0.15
    assert abs(weights[1] - 0.5) < 0.15
    assert weights[2] < 0.1


def test_the_average_is_never_worse_than_the_best_single_one() -> None:
    for seed in range(5):
        rng, truth = _world(seed)
        labels = np.expm1(np.maximum(truth + rng.normal(size=len(truth)), 0)).astype(np.float32)
        links = np.stack([truth + rng.normal(size=len(truth)) * s for s in (0.1, 0.5, 2.0)]).astype(np.float32)
        weights = select_weights(links, labels, np.arange(len(labels)), _HOURS)
        singles = [quality(link, labels, _HOURS) for link in links]
        # Chosen on halves, judged on the whole: a hair may be lost.
        assert quality(weights @ links, labels, _HOURS) >= max(singles) - 1e-3


def test_a_perfect_teacher_is_heard_alone() -> None:
    rng, truth = _world()
    labels = np.expm1(np.abs(truth)).astype(np.float32)
    links = np.stack([rng.normal(size=len(truth)), np.abs(truth)]).astype(np.float32)
    assert select_weights(links, labels, np.arange(len(labels)), _HOURS).tolist() == [0.0, 1.0]


def test_without_a_defined_quality_all_weigh_the_same() -> None:
    links = np.zeros((4, 10), dtype=np.float32)
    assert select_weights(links, np.ones(10, dtype=np.float32), np.arange(10), _CHURN).tolist() == [0.25] * 4


def test_one_extreme_player_does_not_decide_alone() -> None:
    """In half of the halves the player is not there: a teacher that shines on nobody else is not heard alone."""
    rng, truth = _world(rows=600)
    labels = np.expm1(np.abs(truth)).astype(np.float32)
    player = np.arange(len(truth))
    player[:150] = 0
    sound = np.abs(truth) + 0.5 * rng.normal(size=len(truth))
    lucky = rng.normal(size=len(truth))
    labels[:150] = np.expm1(12.0)
    lucky[:150] = 12.0
    weights = select_weights(np.stack([sound, lucky]).astype(np.float32), labels, player, _HOURS)
    assert 0.2 < weights[0] < 0.8
