"""Which recipe won, and why every other one lost."""

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
        winner: the best quality among those that hold the budget; where none does, the one that comes closest.
        holds: whether it holds the budget.
        front: trials that no other one beats in quality, bytes and CPU time at once, best quality first.
        reasons: number of each other trial → why it lost.
    """

    winner: Tried
    holds: bool
    front: tuple[Tried, ...]
    reasons: dict[int, str]


def judge(tried: Sequence[Tried], budget: Budget) -> Verdict | None:
    """Pick, and explain; None where nothing was measured."""
    measured = [(one, one.found) for one in tried if one.found is not None]
    if not measured:
        return None
    holding = [(one, found) for one, found in measured if not budget.excess(found)]
    if holding:
        winner, best = max(holding, key=lambda pair: (pair[1].mean_change, -pair[1].file_bytes, -pair[0].number))
    else:
        winner, best = min(measured, key=lambda pair: (max(budget.excess(pair[1]).values()), pair[0].number))
    front = [pair for pair in measured if not any(_dominates(other, pair[1]) for _, other in measured)]
    front.sort(key=lambda pair: -pair[1].mean_change)
    reasons = {one.number: _reason(one, winner, best, budget) for one in tried if one is not winner}
    return Verdict(winner, bool(holding), tuple(one for one, _ in front), reasons)


def _reason(one: Tried, winner: Tried, best: Measured, budget: Budget) -> str:
    if one.found is None:
        return f"given up early: {one.reason}"
    if over := budget.told(one.found):
        return f"does not hold the budget: {over}"
    found = one.found
    gap = f"mean change {found.mean_change:+.4f} against {best.mean_change:+.4f} of trial {winner.number}"
    if _dominates(best, found):
        return f"{gap}, which is no larger and no slower"
    cheaper = [
        f"{1.0 - getattr(found, field) / getattr(best, field):.0%} fewer {what}"
        for field, what in (("file_bytes", "bytes"), ("cpu_us_per_lobby", "CPU microseconds"))
        if getattr(found, field) < getattr(best, field)
    ]
    return f"{gap}; it has {' and '.join(cheaper)}, which the budget does not ask for"


def _dominates(one: Measured, other: Measured) -> bool:
    """No worse in anything, better in something."""
    ahead = (
        one.mean_change - other.mean_change,
        other.file_bytes - one.file_bytes,
        other.cpu_us_per_lobby - one.cpu_us_per_lobby,
    )
    return min(ahead) >= 0 and max(ahead) > 0
