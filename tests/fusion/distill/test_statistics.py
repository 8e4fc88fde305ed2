"""Statistics: what they tell, what they keep to themselves, and whether rows drawn from them follow them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from fusion.distill.statistics import CROWD, Statistics, draw, measure
from fusion.errors import FusionError
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate

NAMES = ("skewed", "count", "late", "later", "rare")
CORRELATION = 0.7
ROWS = 20_000
SURE = 4.5
"""Standard deviations that chance does not exceed."""


@pytest.fixture(scope="module")
def players() -> Dataset:
    return build(simulate(250, seed=2))


@pytest.fixture(scope="module")
def planted(players: Dataset) -> Dataset:
    """A copula that is Gaussian, with other marginals: a skewed one, a count, two known of the same rows only, and one
    that is known of five players."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((len(players), 3))
    normal[:, 1] = CORRELATION * normal[:, 0] + np.sqrt(1 - CORRELATION**2) * normal[:, 1]
    known = rng.random(len(players)) < 0.6
    columns = [
        np.exp(normal[:, 0]),
        np.floor(20 * (normal[:, 1] + 5)),
        np.where(known, normal[:, 2], np.nan),
        np.where(known, 3 * rng.standard_normal(len(players)), np.nan),
        np.where(players.player < 5, 1.0, np.nan),
    ]
    return replace(players, features=np.stack(columns, axis=1).astype(np.float32), feature_names=NAMES)


@pytest.fixture(scope="module")
def statistics(planted: Dataset) -> Statistics:
    return measure(planted)


def training(dataset: Dataset) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rows = dataset.rows(Split.TRAIN)
    return dataset.features[rows], dataset.player[rows]


def test_the_correlation_of_a_gaussian_copula_is_found_whatever_the_marginals(
    planted: Dataset, statistics: Statistics
) -> None:
    found = np.array(statistics.correlation)
    rows = len(planted.rows(Split.TRAIN))
    # The standard error of a correlation is (1 - r²) / sqrt(rows); three decimals are kept.
    assert abs(found[0, 1] - CORRELATION) < SURE * (1 - CORRELATION**2) / np.sqrt(rows) + 5e-4
    assert abs(found[0, 2]) < SURE / np.sqrt(rows)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1.0)


def test_drawn_rows_follow_the_quantiles(statistics: Statistics) -> None:
    drawn = draw(statistics, ROWS, seed=3)
    for feature, column in zip(statistics.features, drawn.features.T.astype(np.float64), strict=True):
        known = column[~np.isnan(column)]
        unknown = 1 - len(known) / ROWS
        assert abs(unknown - feature.unknown_share) <= SURE * 0.5 / np.sqrt(ROWS)
        for level, quantile in zip(np.linspace(0, 1, len(feature.quantiles)), feature.quantiles, strict=True):
            # Several quantiles may be one value, and what is rounded to a whole number may have come from either side.
            below, above = np.mean(known < np.float32(quantile)), np.mean(known <= np.float32(quantile))
            slack = SURE * 0.5 / np.sqrt(len(known))
            assert below - slack <= level <= above + slack, (feature.name, level)
    whole = drawn.features[:, NAMES.index("count")]
    np.testing.assert_array_equal(whole, np.round(whole))


def test_drawn_rows_hang_together_as_the_players_do(planted: Dataset, statistics: Statistics) -> None:
    drawn = draw(statistics, ROWS, seed=3)
    again = np.array(measure(drawn).correlation)
    np.testing.assert_allclose(again[:2, :2], np.array(statistics.correlation)[:2, :2], atol=SURE / np.sqrt(ROWS))
    late, later = (np.isnan(drawn.features[:, NAMES.index(name)]) for name in ("late", "later"))
    # Unknown at the same time: far more often than by chance.
    assert (late & later).mean() > 0.25 > SURE / np.sqrt(ROWS) + late.mean() * later.mean()


def test_no_record_shows_and_what_few_are_known_by_is_not_told(planted: Dataset, statistics: Statistics) -> None:
    features, player = training(planted)
    for feature, column in zip(statistics.features[:4], features.T, strict=False):
        lowest, highest = feature.quantiles[0], feature.quantiles[-1]
        # Rounding to three digits moves a value by half of one in a hundred at most.
        slack = 0.005 * max(abs(lowest), abs(highest))
        assert len(np.unique(player[column <= lowest + slack])) >= CROWD
        assert len(np.unique(player[column >= highest - slack])) >= CROWD
        assert np.nanmax(column) > highest
    rare = statistics.features[4]
    assert (rare.unknown_share, rare.quantiles) == (1.0, ())
    assert np.isnan(draw(statistics, 50).features[:, 4]).all()
    assert len(statistics.features[0].quantiles) <= len(np.unique(player)) // CROWD + 1


def test_too_few_players_are_refused(planted: Dataset) -> None:
    few = planted.subset(np.flatnonzero(planted.player < 60))
    with pytest.raises(FusionError, match=r"got \d+ training players, expected at least 100"):
        measure(few)
    with pytest.raises(ValidationError, match="players"):
        Statistics.model_validate(measure(planted).model_dump() | {"players": 20})


def test_a_drawn_dataset_says_what_it_is_and_is_drawn_alike_again(statistics: Statistics) -> None:
    drawn, again = draw(statistics, 500, seed=1), draw(statistics, 500, seed=1)
    np.testing.assert_array_equal(drawn.features, again.features)
    assert drawn.synthetic
    assert np.isnan(drawn.labels).all()
    assert "500 rows drawn from quantiles and a Gaussian copula" in drawn.notice
    assert "no row is a player's" in drawn.notice
    assert {len(drawn.rows(split)) > 0 for split in Split} == {True}
    with pytest.raises(FusionError, match="got rows without sessions"):
        drawn.sequences(drawn.rows(Split.TEST))


def test_statistics_of_other_features_are_refused(statistics: Statistics) -> None:
    other = statistics.model_copy(update={"feature_version": 99})
    with pytest.raises(FusionError, match="features of version 99"):
        draw(other, 10)
    with pytest.raises(ValidationError, match="expected 5 rows of 5 numbers"):
        Statistics.model_validate(statistics.model_dump() | {"correlation": ((1.0,),)})
