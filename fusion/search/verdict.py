"""Which recipes are worth all of their training, which one won, and why every other one lost.

Candidates are trained briefly: that ranks them, yet all of them fall short of what they come to. So a candidate is held
to the budget's costs, and only what was trained to the end to its quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.search.budget import Budget, Measured
    from fusion.search.study import Tried


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a search came to.

    Attributes:
        winner: the best quality among those that hold the budget.
        front: trials that no other one beats in quality, bytes and CPU time at once, best quality first.
        reasons: number of each other trial → why it lost.
    """

    winner: Tried
    front: tuple[Tried, ...]
    reasons: dict[int, str]


def shortlist(tried: Sequence[Tried], budget: Budget) -> list[Tried]:
    """Those within the budget's costs, best quality first; without those known to miss it when trained to the end."""
    pairs = [(one, one.found) for one in tried if one.found is not None and not budget.costs.excess(one.found)]
    pairs.sort(key=lambda pair: (-pair[1].mean_change, pair[1].file_bytes, pair[0].number))
    return [one for one, _ in pairs if one.trained is None or not budget.excess(one.trained)]


def closest(tried: Sequence[Tried], budget: Budget) -> tuple[Tried, Measured] | None:
    """Where none holds the budget: which one misses it least, and what it measured; None where nothing was measured."""
    trained = [(one, one.trained, budget) for one in tried if one.trained is not None]
    briefly = [(one, one.found, budget.costs) for one in tried if one.found is not None]
    known = trained or briefly
    if not known:
        return None
    one, found, _ = min(known, key=lambda miss: (max(miss[2].excess(miss[1]).values(), default=0.0), miss[0].number))
    return one, found


def explain(tried: Sequence[Tried], winner: Tried, budget: Budget) -> Verdict:
    """Why this one won. It was measured."""
    measured = [(one, one.found) for one in tried if one.found is not None]
    best = next(found for one, found in measured if one.number == winner.number)
    front = [pair for pair in measured if not any(_dominates(other, pair[1]) for _, other in measured)]
    front.sort(key=lambda pair: -pair[1].mean_change)
    reasons = {one.number: _reason(one, winner, best, budget) for one in tried if one.number != winner.number}
    return Verdict(winner, tuple(one for one, _ in front), reasons)


def _reason(one: Tried, winner: Tried, best: Measured, budget: Budget) -> str:
    if one.found is None:
        return f"given up early: {one.reason}"
    if over := budget.costs.told(one.found):
        return f"does not hold the budget: {over}"
    if one.trained is not None and (missed := budget.told(one.trained)):
        return f"does not hold the budget when trained to the end: {missed}"
    found = one.found
    gap = f"mean change {found.mean_change:+.4f} against {best.mean_change:+.4f} of trial {winner.number}"
    cheaper = [
        f"{1.0 - getattr(found, field) / getattr(best, field):.0%} fewer {what}"
        for field, what in (("file_bytes", "bytes"), ("cpu_us_per_lobby", "CPU microseconds"))
        if getattr(found, field) < getattr(best, field)
    ]
    if not cheaper:
        return f"{gap}, which is no larger and no slower"
    return f"{gap}; it has {' and '.join(cheaper)}, which the budget does not ask for"


def _dominates(one: Measured, other: Measured) -> bool:
    """No worse in anything, better in something."""
    ahead = (
        one.mean_change - other.mean_change,
        other.file_bytes - one.file_bytes,
        other.cpu_us_per_lobby - one.cpu_us_per_lobby,
    )
    return min(ahead) >= 0 and max(ahead) > 0
