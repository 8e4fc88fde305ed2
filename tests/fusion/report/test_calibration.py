from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from fusion.evaluate import RESAMPLES, draw_players
from fusion.report.calibration import BINS, calibrate
from inference.contract.behaviours import DEFAULT_BEHAVIOURS, from_link
from inference.contract.passport import Curve

BINARY = DEFAULT_BEHAVIOURS["churn_7d"]
AMOUNT = DEFAULT_BEHAVIOURS["playtime_7d_hours"]
FOUR_DIGITS = 5e-4
"""Largest relative error of a number that keeps four digits."""


def curve(links: np.ndarray, labels: np.ndarray, player: np.ndarray | None = None) -> Curve:
    whose = np.arange(len(links)) if player is None else player
    return calibrate(np.zeros_like(links), links, labels, whose, BINARY).fused


@given(seed=st.integers(0, 1_000), rows=st.integers(10, 40).map(lambda tens: 10 * tens))
@settings(max_examples=20)
def test_bins_are_scikit_learns(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    links, labels = rng.normal(size=rows), (rng.random(rows) < 0.4).astype(np.float64)
    observed, predicted = calibration_curve(labels, from_link(links, BINARY), n_bins=BINS, strategy="quantile")
    found = curve(links, labels)
    assert found.observed == pytest.approx(observed, rel=FOUR_DIGITS)
    assert found.predicted == pytest.approx(predicted, rel=FOUR_DIGITS)
    assert sum(found.rows) == rows
    expected = np.abs(observed - predicted) @ np.array(found.rows) / rows
    assert found.error == pytest.approx(expected, rel=FOUR_DIGITS)


def test_intervals_are_those_of_resampled_players() -> None:
    """Literally: every resample is written out row by row."""
    rng = np.random.default_rng(5)
    player = rng.integers(0, 30, 400)
    links, labels = rng.normal(size=400), (rng.random(400) < 0.5).astype(np.float64)
    found = curve(links, labels, player)
    _, whose = np.unique(player, return_inverse=True)
    bin_of = np.argsort(np.argsort(links)) * BINS // 400
    means = []
    for draw in draw_players(whose.max() + 1, RESAMPLES, 0):
        times = draw[whose].astype(int)
        drawn, bins = np.repeat(labels, times), np.repeat(bin_of, times)
        means.append([drawn[bins == number].mean() for number in range(BINS)])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    assert found.low == pytest.approx(low, rel=FOUR_DIGITS)
    assert found.high == pytest.approx(high, rel=FOUR_DIGITS)


def test_amounts_that_come_true_lie_on_the_diagonal_in_their_own_unit() -> None:
    labels = np.random.default_rng(0).gamma(1.0, 8.0, 300)
    found = calibrate(np.log1p(labels), np.log1p(labels), labels, np.arange(300), AMOUNT)
    assert found.teacher == found.fused
    assert found.fused.observed == found.fused.predicted
    assert found.fused.error == 0.0
    lowest = np.sort(labels)[:30]
    assert found.fused.predicted[0] == pytest.approx(np.expm1(np.log1p(lowest).mean()), rel=FOUR_DIGITS)


def test_an_amount_below_zero_is_served_and_judged_as_zero() -> None:
    found = calibrate(np.full(50, -3.0), np.full(50, -3.0), np.zeros(50), np.arange(50), AMOUNT)
    assert found.fused.predicted == (0.0,)
    assert found.fused.error == 0.0


def test_level_predictions_share_a_bin() -> None:
    labels = np.arange(100.0) % 2
    found = curve(np.zeros(100), labels)
    assert (found.rows, found.predicted, found.observed) == ((100,), (0.5,), (0.5,))


def test_censored_rows_do_not_count() -> None:
    rng = np.random.default_rng(1)
    links, labels = rng.normal(size=200), (rng.random(200) < 0.3).astype(np.float64)
    more = np.concatenate((links, np.full(40, 9.0)))
    censored = np.concatenate((labels, np.full(40, np.nan)))
    assert curve(more, censored) == curve(links, labels)
