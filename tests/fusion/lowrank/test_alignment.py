"""Alignment undoes permutations, keeps every function as it was, and refuses what cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.errors import FusionError
from fusion.lowrank.alignment import Tower, aligned

WIDTHS = (5, 16, 12, 2)


def tower(seed: int, widths: tuple[int, ...] = WIDTHS) -> Tower:
    rng = np.random.default_rng(seed)
    pairs = list(zip(widths[1:], widths[:-1], strict=True))
    return Tower(tuple(rng.normal(size=pair) for pair in pairs), tuple(rng.normal(size=out) for out, _ in pairs))


def answers(network: Tower, x: NDArray[np.float64]) -> NDArray[np.float64]:
    for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        x = (np.maximum(x, 0.0) if number else x) @ weight.T + bias
    return x


def _shuffled(network: Tower, seed: int) -> Tower:
    rng = np.random.default_rng(seed)
    for layer, width in enumerate(WIDTHS[1:-1]):
        network = network.permuted(layer, rng.permutation(width))
    return network


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), noise=st.sampled_from([0.0, 0.02]))
def test_shuffled_units_find_back(seed: int, noise: float) -> None:
    reference = tower(seed)
    rng = np.random.default_rng(seed)
    near = Tower(tuple(w + noise * rng.normal(size=w.shape) for w in reference.weights), reference.biases)
    back = aligned([reference, _shuffled(near, seed + 1)])[1]
    for weight, expected in zip(back.weights, near.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_aligning_changes_no_answer_and_brings_towers_nearer() -> None:
    first, second = tower(0), tower(1)
    moved = aligned([first, second])[1]
    x = np.random.default_rng(2).normal(size=(50, WIDTHS[0]))
    np.testing.assert_allclose(answers(moved, x), answers(second, x), rtol=1e-9, atol=1e-9)

    def distance(other: Tower) -> float:
        return sum(float(np.square(a - b).sum()) for a, b in zip(first.weights, other.weights, strict=True))

    assert distance(moved) < distance(second)


def test_towers_of_another_architecture_are_refused() -> None:
    with pytest.raises(FusionError, match="tower 1 of stacked models"):
        aligned([tower(0), tower(1, (5, 16, 11, 2))])
