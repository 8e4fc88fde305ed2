"""Quality of predictions, and what chance alone does to it: AUC or R², with a bootstrap over players.

Rows of one player resemble each other, so players are resampled, never rows (cluster bootstrap: Davison and Hinkley
1997, section 3.8). Two models are compared on the same resampled players, so what both get right cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fusion.errors import FusionError
from inference.contract.passport import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from inference.contract.behaviours import Behaviour

    _Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]

RESAMPLES: Final = 200
COVERAGE_PERCENT: Final = (2.5, 97.5)
"""Percentiles that bound a 95 % interval."""
_CHUNK_CELLS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PairedQuality:
    """Quality of a teacher and of the fused network on the same rows; `change` is fused - teacher."""

    teacher: Interval
    fused: Interval
    change: Interval
    rows: int


def measure(behaviour: Behaviour) -> Literal["auc", "r2_log"]:
    """What `quality` measures for a behaviour."""
    return "auc" if behaviour.is_binary else "r2_log"


def quality(links: NDArray[np.floating], labels: NDArray[np.floating], behaviour: Behaviour) -> float:
    """Area under the ROC curve of a binary behaviour, R² on the log1p scale of an amount.

    Args:
        links: (rows,) predictions on the link scale.
        labels: (rows,) on the served scale; NaN where censored, such rows do not count.
        behaviour: what is predicted.

    Returns:
        The quality; NaN where it is not defined: only one class, amounts that are all equal, or no label.
    """
    known = _known(links, labels)
    score = _score(links[known], labels[known], behaviour, np.zeros(int(known.sum()), dtype=np.int64), 1)
    return float(score(np.ones((1, 1)))[0])


def paired_bootstrap(
    teacher_links: NDArray[np.floating],
    fused_links: NDArray[np.floating],
    labels: NDArray[np.floating],
    player: NDArray[np.integer],
    behaviour: Behaviour,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedQuality:
    """Quality of two models with 95 % percentile intervals over resampled players.

    Args:
        teacher_links: (rows,) predictions of the first model, link scale.
        fused_links: (rows,) predictions of the second model, link scale.
        labels: (rows,) served scale, NaN where censored.
        player: (rows,) any integer key of each row's player.
        behaviour: what is predicted.
        resamples: how often the players are drawn anew.
        seed: of the draws.

    Raises:
        FusionError: the quality is not defined on these rows (one class only, amounts that are all equal, no label).
    """
    known = _known(teacher_links, labels)
    players, index = np.unique(player[known], return_inverse=True)
    scores = [
        _score(links[known], labels[known], behaviour, index, len(players)) for links in (teacher_links, fused_links)
    ]
    everyone = np.ones((1, len(players)))
    values = [float(score(everyone)[0]) for score in scores]
    if not np.isfinite(values).all():
        raise not_defined(behaviour.name, "these players")
    draws = draw_players(len(players), resamples, seed)
    teacher, fused = (score(draws) for score in scores)
    return PairedQuality(
        teacher=_interval(values[0], teacher),
        fused=_interval(values[1], fused),
        change=_interval(values[1] - values[0], fused - teacher),
        rows=int(known.sum()),
    )


def not_defined(behaviour: str, players: str) -> FusionError:
    """What to tell of labels that all are the same, or all censored; `players`: whose they are."""
    return FusionError(
        f"labels of {behaviour}",
        got=f"no two different ones in the rows of {players}",
        expected="at least two different ones, or no quality is defined",
        fix="Give more players, or leave this behaviour out.",
    )


def draw_players(players: int, resamples: int, seed: int) -> NDArray[np.float64]:
    """How often each player is in each resample: (resamples, players)."""
    shares = np.full(players, 1.0 / players)
    return np.random.default_rng(seed).multinomial(players, shares, size=resamples).astype(np.float64)


def _known(links: NDArray[np.floating], labels: NDArray[np.floating]) -> NDArray[np.bool_]:
    if links.shape != labels.shape or links.ndim != 1:
        raise FusionError(where="predictions", got=f"shape {links.shape}", expected=f"{labels.shape}, one per label")
    return np.asarray(~np.isnan(labels))


def _interval(value: float, resampled: NDArray[np.float64]) -> Interval:
    # A resample that happened to miss one class altogether has no quality and says nothing.
    low, high = np.nanpercentile(resampled, COVERAGE_PERCENT)
    return Interval(value=value, low=float(low), high=float(high))


def _score(
    links: NDArray[np.floating],
    labels: NDArray[np.floating],
    behaviour: Behaviour,
    player: NDArray[np.int64],
    players: int,
) -> _Score:
    """A function from player weights (resamples, players) to the quality of each resample (resamples,)."""
    prepare = _auc if behaviour.is_binary else _r2_log
    return prepare(links.astype(np.float64), labels.astype(np.float64), player, players)


def _auc(links: NDArray[np.float64], labels: NDArray[np.float64], player: NDArray[np.int64], _players: int) -> _Score:
    """Weighted AUC (Mann-Whitney): sorted once, then each resample costs one running sum. Ties count one half."""
    order = np.argsort(links, kind="stable")
    ranked, positive, player = links[order], labels[order] > 0.5, player[order]
    positive_player, negative_player = player[positive], player[~positive]
    # Where each positive row's score would fall among the negative ones: below `low`, level up to `high`.
    low = np.searchsorted(ranked[~positive], ranked[positive], side="left")
    high = np.searchsorted(ranked[~positive], ranked[positive], side="right")

    def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(len(weights), np.nan)
        for chunk in _chunks(len(weights), len(links)):
            below = np.zeros((chunk.stop - chunk.start, len(negative_player) + 1))
            np.cumsum(weights[chunk][:, negative_player], axis=1, out=below[:, 1:])
            mine = weights[chunk][:, positive_player]
            won = 0.5 * (mine * (below[:, low] + below[:, high])).sum(axis=1)
            pairs = mine.sum(axis=1) * below[:, -1]
            np.divide(won, pairs, out=out[chunk], where=pairs > 0)
        return out

    return score


def _r2_log(links: NDArray[np.float64], labels: NDArray[np.float64], player: NDArray[np.int64], players: int) -> _Score:
    """R² of the log1p amounts from per-player sums. A negative link is served as 0, and judged as such."""
    truth = np.log1p(labels)
    # Centred first: a resample's variance is then a difference of small numbers, not of large ones.
    centred = truth - truth.mean() if len(truth) else truth
    columns = (np.ones_like(truth), centred, centred**2, (truth - np.maximum(links, 0.0)) ** 2)
    sums = np.stack([np.bincount(player, weights=column, minlength=players) for column in columns], axis=1)

    def score(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        rows, total, squares, error = (weights @ sums).T
        out = np.full(len(weights), np.nan)
        spread = squares - np.divide(total**2, rows, out=np.zeros_like(total), where=rows > 0)
        np.divide(error, spread, out=out, where=spread > 1e-12 * np.maximum(rows, 1.0))
        return 1.0 - out

    return score


def _chunks(resamples: int, rows: int) -> Iterator[slice]:
    step = max(1, _CHUNK_CELLS // max(rows, 1))
    for start in range(0, resamples, step):
        yield slice(start, min(start + step, resamples))
