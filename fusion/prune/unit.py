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


@dataclass(frozen=True, slots=True)
class Units:
    """Units that can be removed one by one: neurons of a layer, features, components of a decomposition.

    Attributes:
        name: for people.
        gate: the array in which a unit is multiplied into the network once: a unit times g is this slice times g.
        others: the other arrays that shrink with it.
    """

    name: str
    gate: Slice
    others: tuple[Slice, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        weight, axis = self.gate
        return int(weight.array.shape[axis])

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Every array and axis."""
        return (self.gate, *self.others)

    def keep(self, index: NDArray[np.int64]) -> None:
        """Remove all others, from the arrays themselves: the network gets smaller and faster."""
        for weight, axis in self.slices:
            weight.select(axis, index)
