"""What structured pruning removes: units, each a slice of every array that speaks of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fusion.weight import Weight

Slice = tuple["Weight", int]
"""An array and the axis along which the units lie."""
Place = tuple[Slice, ...]
"""Arrays that together make up what a unit is at one place: nothing passes there where all of them are zero."""


@dataclass(frozen=True, slots=True)
class Units:
    """Units that can be removed one by one: neurons of a layer, features, components of a decomposition.

    Attributes:
        name: for people.
        gate: the place where a unit is multiplied into the network: a unit times g is its slices here times g.
        others: the other places that shrink with it.
    """

    name: str
    gate: Place
    others: tuple[Place, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        weight, axis = self.gate[0]
        return int(weight.array.shape[axis])

    @property
    def places(self) -> tuple[Place, ...]:
        """All of them."""
        return (self.gate, *self.others)

    def keep(self, index: NDArray[np.int64]) -> None:
        """Remove all others, from the arrays themselves: the network gets smaller and faster."""
        for place in self.places:
            for weight, axis in place:
                weight.select(axis, index)
