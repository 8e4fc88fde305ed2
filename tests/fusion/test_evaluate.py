"""Quality against scikit-learn; the bootstrap against a slow, literal one."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score, roc_auc_score

from fusion.errors import FusionError
from fusion.evaluate import measure, paired_bootstrap, quality
from inference.contract.behaviours import DEFAULT_BEHAVIOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.contract.behaviours import Behaviour

BINARY = DEFAULT_BEHAVIOURS["churn_7d"]
AMOUNT = DEFAULT_BEHAVIOURS["playtime_7d_hours"]

Example = tuple["NDArray[np.float32]", "NDArray[np.float32]", "NDArray[np.int64]"]


def _example(rows: int = 300, players: int = 40, *, seed: int = 0, decimals: int = 1) -> Example:
    """Links rounded so that many are level, labels that they predict a little, players of several rows."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.4).astype(np.float32)
    links = np.round(rng.normal(size=rows) + labels, decimals).astype(np.float32)
    return links, labels, rng.integers(0, players, rows)


@given(seed=st.integers(0, 10_000), rows=st.integers(2, 200), decimals=st.integers(0, 3))
def test_auc_is_scikit_learns_also_where_links_are_level(seed: int, rows: int, decimals: int) -> None:
    links, labels, _ = _example(rows, seed=seed, decimals=decimals)
    labels[:2] = 0, 1
    assert quality(links, labels, BINARY) == pytest.approx(roc_auc_score(labels, links), abs=1e-12)


@given(seed=st.integers(0, 10_000), rows=st.integers(2, 200))
def test_r2_is_scikit_learns_on_the_log_scale(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.gamma(1.0, 5.0, rows).astype(np.float32)
    links = (np.log1p(labels) + rng.normal(size=rows)).astype(np.float32)
    served = np.maximum(links.astype(np.float64), 0.0)
    expected = r2_score(np.log1p(labels.astype(np.float64)), served)
    assert quality(links, labels, AMOUNT) == pytest.approx(expected, abs=1e-9)


def test_censored_rows_do_not_count() -> None:
    links, labels, player = _example()
    censored = np.concatenate((labels, np.full(50, np.nan, dtype=np.float32)))
    more = np.concatenate((links, np.full(50, 9.0, dtype=np.float32)))
    whose = np.concatenate((player, np.arange(1000, 1050)))
    assert quality(more, censored, BINARY) == quality(links, labels, BINARY)
    assert paired_bootstrap(more, more, censored, whose, BINARY) == paired_bootstrap(
        links, links, labels, player, BINARY
    )


@pytest.mark.parametrize("labels", [np.ones(5, dtype=np.float32), np.full(5, np.nan, dtype=np.float32)])
@pytest.mark.parametrize("behaviour", [BINARY, AMOUNT], ids=lambda behaviour: behaviour.name)
def test_quality_without_different_labels_is_not_defined(labels: NDArray[np.float32], behaviour: Behaviour) -> None:
    assert np.isnan(quality(np.arange(5, dtype=np.float32), labels, behaviour))
    with pytest.raises(FusionError, match=f"labels of {behaviour.name}: got no two different ones"):
        paired_bootstrap(np.arange(5.0), np.arange(5.0), labels, np.arange(5), behaviour)


def test_measures_are_named_as_the_passport_names_them() -> None:
    assert (measure(BINARY), measure(AMOUNT)) == ("auc", "r2_log")


def test_predictions_of_another_length_are_refused() -> None:
    with pytest.raises(FusionError, match=r"got shape \(3,\)"):
        quality(np.zeros(3), np.zeros(4), BINARY)


@pytest.mark.parametrize("behaviour", [BINARY, AMOUNT], ids=lambda behaviour: behaviour.name)
def test_the_bootstrap_is_that_of_really_repeated_players(behaviour: Behaviour) -> None:
    links, labels, player = _example(120, 15)
    other = (links + np.random.default_rng(1).normal(size=len(links))).astype(np.float32)
    got = paired_bootstrap(links, other, labels, player, behaviour, resamples=50, seed=3)

    players = np.unique(player)
    draws = np.random.default_rng(3).multinomial(len(players), np.full(len(players), 1 / len(players)), size=50)
    changes = []
    for draw in draws:
        rows = np.concatenate([np.tile(np.flatnonzero(player == p), k) for p, k in zip(players, draw, strict=True)])
        changes.append(quality(other[rows], labels[rows], behaviour) - quality(links[rows], labels[rows], behaviour))
    low, high = np.percentile(changes, (2.5, 97.5))
    assert got.change.low == pytest.approx(low, abs=1e-9)
    assert got.change.high == pytest.approx(high, abs=1e-9)
    assert got.change.value == pytest.approx(quality(other, labels, behaviour) - quality(links, labels, behaviour))
    assert got.rows == 120


def test_intervals_cover_the_planted_quality_about_as_often_as_they_say() -> None:
    # Two normal distributions one deviation apart: AUC = Phi(1 / sqrt 2).
    planted = NormalDist().cdf(2**-0.5)
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = (rng.random(600) < 0.5).astype(np.float32)
        links = rng.normal(size=600) + labels
        interval = paired_bootstrap(links, links, labels, np.arange(600), BINARY, seed=seed).teacher
        covered += interval.low <= planted <= interval.high
    # Binomial(60, 0.95) is below 50 with probability 4e-5.
    assert covered >= 50


def test_rows_of_one_player_count_as_one_witness() -> None:
    links, labels, _ = _example(200, decimals=4)
    alone = paired_bootstrap(links, links, labels, np.arange(200), BINARY).teacher
    repeated = (np.tile(links, 20), np.tile(labels, 20))
    clustered = paired_bootstrap(repeated[0], repeated[0], repeated[1], np.tile(np.arange(200), 20), BINARY).teacher
    assert clustered.value == pytest.approx(alone.value)
    assert clustered.high - clustered.low == pytest.approx(alone.high - alone.low, rel=1e-6)


def test_a_model_compared_with_itself_does_not_change() -> None:
    links, labels, player = _example()
    change = paired_bootstrap(links, links, labels, player, BINARY).change
    assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0)
