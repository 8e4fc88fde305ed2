"""Owners of neurons: planted ones are found, costs are what replacing a neuron by its mean costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.branching.ownership import NOBODY, SHARED, allowed, assign
from fusion.branching.reading import DenseNetwork, Level
from fusion.branching.trace import lost, trace
from tests.support.branches import BEHAVIOURS, answers, planted, rows


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_planted_owners_are_found_whatever_their_order(seed: int) -> None:
    network, owners = planted(seed)
    found = assign(network, trace(network, rows()), 0.0)
    for got, expected in zip(found, owners, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_what_leaks_below_the_threshold_does_not_count() -> None:
    network, owners = planted(3, noise=1e-3)
    seen = trace(network, rows())
    assert all((own == SHARED).all() for own in assign(network, seen, 0.0)[:-1])
    for got, expected in zip(assign(network, seen, 1e-4), owners, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_neuron_that_never_fires_or_is_never_read_is_nobodys() -> None:
    network, _ = planted(5)
    first, second, last = network.levels
    bias, weight = first.bias.copy(), second.weight.copy()
    bias[4], weight[:, 7] = -1e3, 0.0
    network = replace(network, levels=(replace(first, bias=bias), replace(second, weight=weight), last))
    assert np.flatnonzero(assign(network, trace(network, rows()), 0.0)[0] == NOBODY).tolist() == [4, 7]


@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_of_a_linear_network_the_cost_of_a_neuron_is_exact(factor: float) -> None:
    """Unit 0 is read by behaviour 0 mostly: it is its own from the threshold on at which the other loses nothing."""
    draw = np.random.default_rng(0)
    last = np.array([[2.0, 1.0, 0.0], [0.05, 1.0, 1.0]])
    levels = Level(draw.normal(size=(3, 6)), np.zeros(3)), Level(last, np.zeros(2))
    network = DenseNetwork(np.arange(6), (), levels, ((), ()))
    features = np.nan_to_num(rows())
    seen = trace(network, features)
    hidden = seen.inputs[1]
    without = np.where(np.arange(3) == 0, hidden.mean(axis=0), hidden)
    cost = lost(hidden @ last.T, without @ last.T)[1]
    expected = SHARED if factor < 1 else 0
    assert assign(network, seen, float(cost) * factor)[0][0] == expected


def test_the_trace_answers_as_the_network_does() -> None:
    network, _ = planted(0)
    np.testing.assert_allclose(trace(network, rows()).links, answers(network, rows()), rtol=1e-9, atol=1e-9)


def test_nobody_reads_and_is_read_and_the_shared_read_shared_ones_only() -> None:
    owners = np.array([SHARED, NOBODY, 0, 1])
    expected = [[True, False, False, False], [False] * 4, [True, False, True, False], [True, False, False, True]]
    assert allowed(owners, owners).tolist() == expected
    assert BEHAVIOURS > 2
