"""Chooses the ranks of all tensors of a network together.

- by energy: per mode, the least rank that keeps a share of the whitened spectrum;
- by budget: from there, take away the rank that costs least per number saved, until the numbers fit [greedy selection,
  as of layer compression ratios in Kuzmin et al. 2019, arXiv:1912.09802].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusion.errors import FusionError

if TYPE_CHECKING:
    from collections.abc import Sequence

Slots = tuple[int, ...]
"""The ranks of a form that are free to choose."""


@dataclass(frozen=True, slots=True)
class RankChoice:
    """What a tensor's ranks can be, and what each choice means.

    Attributes:
        name: of the tensor.
        highest: ranks that lose nothing.
        lost: share of the tensor's squared norm, in its metric, that ranks lose; falls with every rank.
        numbers: that the form of these ranks stores.
        lowered: the nearest ranks that a form can have.
        dense: numbers of the tensor itself, which is kept where no form is smaller.
        worth: squared norm of the tensor in its metric, on a scale common to all tensors.
    """

    name: str
    highest: Slots
    lost: Callable[[Slots], float]
    numbers: Callable[[Slots], int]
    lowered: Callable[[Slots], Slots]
    dense: int
    worth: float

    def stored(self, ranks: Slots) -> int:
        """Numbers, of the form or of the tensor itself, whichever is less."""
        return min(self.dense, self.numbers(ranks))

    def by_energy(self, share: float) -> Slots:
        """Per slot, the least rank that keeps so much of the spectrum while all others are at their highest.

        By the quasi-optimality of the truncated HOSVD, all of them together lose at most their sum.
        """
        return self.lowered(tuple(self._least(slot, 1.0 - share) for slot in range(len(self.highest))))

    def _least(self, slot: int, loss: float) -> int:
        low, high = 1, self.highest[slot]
        while low < high:
            middle = (low + high) // 2
            if self.lost((*self.highest[:slot], middle, *self.highest[slot + 1 :])) <= loss:
                high = middle
            else:
                low = middle + 1
        return low


def allocate(choices: Sequence[RankChoice], start: Sequence[Slots], budget: int) -> list[Slots]:
    """Ranks of all tensors that together store at most `budget` numbers.

    Args:
        choices: of every tensor.
        start: ranks to go down from, one entry per tensor.
        budget: numbers that the tensors may store.

    Raises:
        FusionError: even rank one everywhere stores more.
    """
    ranks = list(start)

    def stored() -> int:
        return sum(choice.stored(slots) for choice, slots in zip(choices, ranks, strict=True))

    while stored() > budget:
        steps = [
            (_price(choice, ranks[index], lower), index, lower)
            for index, choice in enumerate(choices)
            for lower in _lower(choice, ranks[index])
        ]
        if not steps:
            raise FusionError(
                "budget of the low-rank tensors",
                got=f"{budget:,} numbers",
                expected=f"at least {stored():,}: what is left with every rank at one",
                fix="Allow more, or make the network narrower.",
            )
        _, index, lower = min(steps)
        ranks[index] = lower
    return ranks


def _lower(choice: RankChoice, ranks: Slots) -> list[Slots]:
    """Every way to take one rank away."""
    steps = ((*ranks[:slot], rank - 1, *ranks[slot + 1 :]) for slot, rank in enumerate(ranks) if rank > 1)
    return [choice.lowered(step) for step in steps]


def _price(choice: RankChoice, ranks: Slots, lower: Slots) -> float:
    """Error that is added per number that is saved."""
    saved = choice.numbers(ranks) - choice.numbers(lower)
    return choice.worth * (choice.lost(lower) - choice.lost(ranks)) / saved
