"""Chosen neurons stand for all: exactly where the rank is planted, copies are chosen once, order does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.errors import FusionError
from fusion.lowrank.interpolative import select


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_a_planted_rank_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    activations = rng.normal(size=(80, 5)) @ rng.normal(size=(5, 20))
    found = select(activations, 5)
    rebuilt = activations[:, found.chosen] @ found.mixing
    assert np.linalg.norm(rebuilt - activations) <= 1e-4 * np.linalg.norm(activations)
    np.testing.assert_array_equal(found.mixing[:, found.chosen], np.eye(5))


def test_copies_of_a_neuron_are_chosen_once() -> None:
    neurons = np.maximum(np.random.default_rng(0).normal(size=(200, 6)), 0.0)
    both = np.concatenate((neurons, neurons[:, ::-1]), axis=1)
    found = select(both, 6)
    assert sorted(np.where(found.chosen < 6, found.chosen, 11 - found.chosen).tolist()) == list(range(6))
    np.testing.assert_allclose(both[:, found.chosen] @ found.mixing, both, atol=1e-5)


def test_error_falls_with_the_count_and_the_order_of_neurons_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    activations = np.maximum(rng.normal(size=(300, 4)) @ rng.normal(size=(4, 25)), 0.0)
    order = rng.permutation(25)
    errors = []
    for count in range(1, 25, 4):
        found, turned = select(activations, count), select(activations[:, order], count)
        assert set(order[turned.chosen]) == set(found.chosen)
        errors.append(np.linalg.norm(activations - activations[:, found.chosen] @ found.mixing))
    assert errors == sorted(errors, reverse=True)


def test_neurons_that_matter_more_come_first() -> None:
    activations = np.random.default_rng(2).normal(size=(100, 8))
    weights = np.ones(8)
    weights[3] = 100.0
    assert select(activations, 1, weights).chosen.tolist() == [3]


@pytest.mark.parametrize("count", [0, 4])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(FusionError, match="1 to 3"):
        select(np.ones((5, 3)), count)


def test_dead_neurons_do_no_harm() -> None:
    assert np.isfinite(select(np.zeros((5, 3)), 2).mixing).all()
