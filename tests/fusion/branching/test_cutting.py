"""Cuts: nothing moves where nothing was needed, what remains is solved anew, no behaviour loses more than it may."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.branching.cutting import cut_within
from fusion.branching.ownership import SHARED, allowed
from fusion.branching.reading import DenseNetwork, Level
from fusion.branching.trace import lost, trace
from tests.support.branches import FEATURES, answers, planted, rows


def test_where_nothing_is_lost_nothing_moves() -> None:
    network, owners = planted(2)
    cut = cut_within(network, trace(network, rows()), 0.0)
    for own, expected in zip(cut.owners, owners, strict=True):
        np.testing.assert_array_equal(own, expected)
    for before, after in zip(network.levels, cut.network.levels, strict=True):
        np.testing.assert_allclose(after.weight, before.weight, rtol=0, atol=1e-12)
        np.testing.assert_allclose(after.bias, before.bias, rtol=0, atol=1e-12)
    assert cut.lost.max() < 1e-20


@pytest.mark.parametrize("tolerance", [1e-4, 1e-2, 0.2])
def test_no_behaviour_loses_more_than_it_may_and_more_goes_where_more_may_be_lost(tolerance: float) -> None:
    network, _ = planted(4, noise=0.15, hidden=(16, 12))
    features = rows(800)
    cut = cut_within(network, trace(network, features), tolerance)
    measured = lost(answers(network, features), answers(cut.network, features))
    np.testing.assert_allclose(measured, cut.lost, rtol=1e-6, atol=1e-12)
    assert measured.max() <= tolerance
    below = np.full(FEATURES, SHARED)
    for level, own in zip(cut.network.levels, cut.owners, strict=True):
        assert not level.weight[~allowed(own, below)].any()
        below = own


def test_a_larger_tolerance_cuts_more() -> None:
    network, _ = planted(4, noise=0.15, hidden=(16, 12))
    seen = trace(network, rows(800))
    kept = [
        sum(np.count_nonzero(level.weight) for level in cut_within(network, seen, tolerance).network.levels)
        for tolerance in (0.0, 1e-3, 1e-1)
    ]
    assert kept[0] > kept[1] > kept[2]


def test_the_refit_is_least_squares_in_what_may_still_be_read() -> None:
    """Behaviour 1 hardly needs unit 0, which becomes behaviour 0's own: unit 1, which resembles it, takes over."""
    draw = np.random.default_rng(1)
    first = draw.normal(size=(3, FEATURES))
    first[1] = first[0] + 0.3 * first[1]
    last = np.array([[3.0, 1.0, 2.0], [0.1, 1.0, 1.0]])
    network = DenseNetwork(
        np.arange(FEATURES), (), (Level(first, np.ones(3)), Level(last, np.array([0.5, -0.5]))), ((), ())
    )
    features = np.nan_to_num(rows(600))
    cut = cut_within(network, trace(network, features), 1e-3)
    assert cut.owners[0].tolist() == [0, SHARED, SHARED]
    hidden = features.astype(np.float64) @ first.T + 1.0
    read = np.column_stack((hidden[:, 1:], np.ones(len(hidden))))
    expected = np.linalg.lstsq(read, hidden @ last[1] - 0.5, rcond=None)[0]
    got = cut.network.levels[1]
    # The metric is shrunk by 1e-4 of its mean eigenvalue.
    np.testing.assert_allclose([*got.weight[1, 1:], got.bias[1]], expected, rtol=1e-2, atol=1e-3)
    plain = lost(hidden @ last.T + [0.5, -0.5], np.column_stack((hidden @ last[0] + 0.5, hidden @ [0, 1, 1] - 0.5)))
    assert cut.lost[1] < 0.5 * plain[1]
