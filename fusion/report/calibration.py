"""Calibration: whether players who are told a probability of 0.3 really do it three times out of ten.

Rows are put into bins of like predictions, as many rows in each (the reliability diagram of Murphy and Winkler 1977,
with quantile bins). Intervals resample players, as those of the quality do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.evaluate import COVERAGE_PERCENT, RESAMPLES, draw_players
from inference.contract.behaviours import from_link
from inference.contract.passport import Calibration, Curve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from inference.contract.behaviours import Behaviour

BINS: Final = 10


def calibrate(
    teacher_links: NDArray[np.floating],
    fused_links: NDArray[np.floating],
    labels: NDArray[np.floating],
    player: NDArray[np.integer],
    behaviour: Behaviour,
    *,
    seed: int = 0,
) -> Calibration:
    """The curves of a teacher and of the fused network on the same rows and the same resampled players.

    Args:
        teacher_links: (rows,) predictions of the teacher, link scale.
        fused_links: (rows,) predictions of the fused network, link scale.
        labels: (rows,) served scale; NaN where censored, such rows do not count.
        player: (rows,) any integer key of each row's player.
        behaviour: what is predicted.
        seed: of the resampled players.
    """
    known = ~np.isnan(labels)
    players, whose = np.unique(player[known], return_inverse=True)
    draws = draw_players(len(players), RESAMPLES, seed)
    truth = labels[known].astype(np.float64) if behaviour.is_binary else np.log1p(labels[known].astype(np.float64))
    teacher, fused = (
        _curve(_judged(links[known], behaviour), truth, whose, draws, behaviour)
        for links in (teacher_links, fused_links)
    )
    return Calibration(behaviour=behaviour.name, teacher=teacher, fused=fused)


def _judged(links: NDArray[np.floating], behaviour: Behaviour) -> NDArray[np.float64]:
    """Probabilities of a binary behaviour; amounts on the log1p scale that they are judged on."""
    return from_link(links, behaviour) if behaviour.is_binary else np.maximum(links.astype(np.float64), 0.0)


def _curve(
    predicted: NDArray[np.float64],
    truth: NDArray[np.float64],
    whose: NDArray[np.int64],
    draws: NDArray[np.float64],
    behaviour: Behaviour,
) -> Curve:
    edges = np.unique(np.quantile(predicted, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    # Level predictions share a bin, so that some bins may hold more rows than others, or none.
    _, bin_of = np.unique(np.searchsorted(edges, predicted, side="left"), return_inverse=True)
    rows = np.bincount(bin_of)
    said, seen = (np.bincount(bin_of, weights=values) / rows for values in (predicted, truth))
    low, high = _interval(truth, bin_of, whose, draws)

    def served(values: Iterable[float]) -> tuple[float, ...]:
        return tuple(_short(value if behaviour.is_binary else np.expm1(value)) for value in values)

    return Curve(
        predicted=served(said),
        observed=served(seen),
        low=served(low),
        high=served(high),
        rows=tuple(rows.tolist()),
        error=_short((np.abs(seen - said) * rows).sum() / rows.sum()),
    )


def _interval(
    truth: NDArray[np.float64], bin_of: NDArray[np.int64], whose: NDArray[np.int64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(2, bins) bounds of the mean truth of each bin over resampled players."""
    bins, players = int(bin_of.max()) + 1, draws.shape[1]
    cell = whose * bins + bin_of
    totals, rows = (
        draws @ np.bincount(cell, weights=weights, minlength=players * bins).reshape(players, bins)
        for weights in (truth, None)
    )
    # A bin of few players may be missed by a resample, which then says nothing about it.
    means = np.divide(totals, rows, out=np.full_like(totals, np.nan), where=rows > 0)
    return np.asarray(np.nanpercentile(means, COVERAGE_PERCENT, axis=0))


def _short(value: float) -> float:
    """Four digits: more would say nothing, and every artifact carries them."""
    return float(f"{value:.4g}")
