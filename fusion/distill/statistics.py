"""Calibration statistics: what a team may export instead of rows, and rows drawn from it.

Per feature the quantiles, and between features the correlation of a Gaussian copula [Nelsen 2006, An Introduction to
Copulas, section 2.3]: enough to draw rows that look like players to a teacher, though none of them is one. Rows that a
network is distilled on need not be real for the teachers' answers to be [Lopes et al. 2017, arXiv:1710.07535].

What leaves: the number of players and of rows; per feature the share of unknown values, in percent, and at most 33
quantiles, to three significant digits; one correlation per pair of features, to three decimals. What guards the
players: there have to be 100 at least, and ten per bin between two quantiles; ten lie at or beyond the outermost ones,
so that no record shows; a feature known of fewer than twenty is left unknown. No name, row or label leaves. This is no
differential privacy (an inner quantile is the value of some row, though not whose): whether the file may leave is for
whoever answers for the players to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.special import ndtr, ndtri

from fusion.errors import FusionError
from fusion.telemetry.dataset import Dataset, Split, TableCleaning
from inference.contract.artifact import sha256
from inference.contract.behaviours import Behaviour, Identifier
from inference.contract.features import FEATURE_VERSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_PLAYERS: Final = 100
"""Of fewer, no statistics are made."""
CROWD: Final = 10
"""Players that stand behind every figure."""
_MOST_BINS: Final = 32
_DIGITS: Final = 3
_VALIDATION_SHARE: Final = 0.1
_TEST_SHARE: Final = 0.2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeatureStatistics(_Frozen):
    """One feature."""

    name: Identifier
    unknown_share: float = Field(ge=0, le=1, description="of the rows")
    whole: bool = Field(description="whether all of its values are whole numbers")
    quantiles: tuple[float, ...] = Field(
        description="of the known values, evenly spaced from the lowest to the highest"
    )


class Statistics(_Frozen):
    """`statistics.json`."""

    data_name: str
    synthetic: bool = Field(description="of simulated players")
    notice: str = Field(default="", description="attribution the data's licence asks for")
    feature_version: int
    players: int = Field(ge=LEAST_PLAYERS)
    rows: int
    behaviours: tuple[Behaviour, ...] = Field(min_length=1, description="what the teachers are to be asked about")
    features: tuple[FeatureStatistics, ...] = Field(min_length=1)
    correlation: tuple[tuple[float, ...], ...] = Field(
        description="(features, features) of the normal scores; an unknown value ranks below all known ones"
    )

    @model_validator(mode="after")
    def _square(self) -> Self:
        count = len(self.features)
        if [len(row) for row in self.correlation] != [count] * count:
            msg = f"correlation: expected {count} rows of {count} numbers, one per feature"
            raise ValueError(msg)
        return self


def measure(dataset: Dataset) -> Statistics:
    """The statistics of a dataset's training players.

    Raises:
        FusionError: they are too few.
    """
    rows = dataset.rows(Split.TRAIN)
    players, player = np.unique(dataset.player[rows], return_inverse=True)
    if len(players) < LEAST_PLAYERS:
        raise FusionError(
            f"statistics of {dataset.name}",
            got=f"{len(players)} training players",
            expected=f"at least {LEAST_PLAYERS}: of fewer, quantiles would tell of single players",
        )
    values = dataset.features[rows].astype(np.float64)
    bins = min(_MOST_BINS, len(players) // CROWD)
    return Statistics(
        data_name=dataset.name,
        synthetic=dataset.synthetic,
        notice=dataset.notice,
        feature_version=FEATURE_VERSION,
        players=len(players),
        rows=len(rows),
        behaviours=dataset.behaviours,
        features=tuple(
            _feature(name, column, player, bins) for name, column in zip(dataset.feature_names, values.T, strict=True)
        ),
        correlation=tuple(tuple(round(float(r), 3) for r in row) for row in _correlation(values)),
    )


def _feature(name: str, values: NDArray[np.float64], player: NDArray[np.int64], bins: int) -> FeatureStatistics:
    known = ~np.isnan(values)
    unknown, quantiles = 1.0 - float(known.mean()), np.zeros(0)
    of = player[known]
    if len(np.unique(of)) >= 2 * CROWD:
        found = values[known]
        lowest, highest = np.full(of.max() + 1, np.inf), np.full(of.max() + 1, -np.inf)
        np.minimum.at(lowest, of, found)
        np.maximum.at(highest, of, found)
        quantiles = np.quantile(found, np.linspace(0.0, 1.0, bins + 1), method="inverted_cdf")
        # The tenth-lowest and the tenth-highest player: nobody's record shows.
        quantiles = np.clip(quantiles, np.sort(lowest)[CROWD - 1], np.sort(highest)[-CROWD])
    else:
        # Known of too few players to be told.
        unknown = 1.0
    return FeatureStatistics(
        name=name,
        unknown_share=round(unknown, 2),
        whole=bool(known.any() and (values[known] == np.round(values[known])).all()),
        quantiles=tuple(float(f"{quantile:.{_DIGITS}g}") for quantile in quantiles),
    )


def _correlation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(features, features) correlation of the normal scores of (rows, features); 0 with a feature that never varies."""
    scores = np.stack([_normal_scores(column) for column in values.T], axis=1)
    scores -= scores.mean(axis=0)
    size = np.sqrt((scores**2).sum(axis=0))
    scores /= np.where(size > 0, size, 1.0)
    found = scores.T @ scores
    np.fill_diagonal(found, 1.0)
    return np.asarray(found)


def _normal_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a value ranks, as a normal number says it; equal ones share the middle of their ranks."""
    _, place, counts = np.unique(np.where(np.isnan(values), -np.inf, values), return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    return np.asarray(ndtri(middle / len(values))[place])


def draw(statistics: Statistics, rows: int, *, seed: int = 0) -> Dataset:
    """A dataset of drawn rows, without labels or sessions: teachers can be asked about it, nothing else.

    Args:
        statistics: that the rows follow.
        rows: how many; each is a player of its own.
        seed: the same seed draws the same rows.

    Raises:
        FusionError: the statistics are of another version of the features.
    """
    if statistics.feature_version != FEATURE_VERSION:
        raise FusionError(
            f"statistics of {statistics.data_name}",
            got=f"features of version {statistics.feature_version}",
            expected=f"version {FEATURE_VERSION}, which this playfuse computes",
            fix="Have them exported again with `playfuse statistics`.",
        )
    rng = np.random.default_rng(seed)
    # Rounded to three decimals, a correlation matrix may have lost its definiteness by a trifle.
    values, vectors = np.linalg.eigh(np.array(statistics.correlation))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    scores = rng.standard_normal((rows, len(root))) @ root.T
    uniform = ndtr(scores / np.sqrt((root**2).sum(axis=1)))
    columns = [_values(feature, u) for feature, u in zip(statistics.features, uniform.T, strict=True)]
    share = rng.random(rows)
    split = np.where(
        share < _TEST_SHARE,
        Split.TEST,
        np.where(share < _TEST_SHARE + _VALIDATION_SHARE, Split.VALIDATION, Split.TRAIN),
    )
    return Dataset(
        name=f"{statistics.data_name}_statistics",
        synthetic=True,
        notice=f"{rows:,} rows drawn from quantiles and a Gaussian copula of {statistics.players:,} players of "
        f"{statistics.data_name}; no row is a player's. {statistics.notice}".strip(),
        sha256=sha256(statistics.model_dump_json().encode()),
        behaviours=statistics.behaviours,
        feature_names=tuple(feature.name for feature in statistics.features),
        features=np.stack(columns, axis=1).astype(np.float32),
        recorded=None,
        labels=np.full((rows, len(statistics.behaviours)), np.nan, dtype=np.float32),
        player=np.arange(rows, dtype=np.int64),
        split=split.astype(np.int8),
        fold=rng.integers(0, 2, rows).astype(np.int8),
        cleaning=TableCleaning(rows, no_player=0, repeated_player=0, not_kept=0),
        censored={behaviour.name: rows for behaviour in statistics.behaviours},
    )


def _values(feature: FeatureStatistics, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a feature is where the copula says so: unknown at first, then from the lowest quantile to the highest."""
    if not feature.quantiles:
        return np.full(len(uniform), np.nan)
    known = (uniform - feature.unknown_share) / max(1.0 - feature.unknown_share, 1e-9)
    levels = np.linspace(0.0, 1.0, len(feature.quantiles))
    found = np.interp(known, levels, feature.quantiles)
    return np.where(known < 0, np.nan, np.round(found) if feature.whole else found)
