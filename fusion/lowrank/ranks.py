"""Which ranks a tensor can have at all."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Ranks = int | tuple[int | None, ...]
"""Of a CP form one number; of a Tucker form one per mode, None where the mode stays whole."""


def highest_cp(shape: Sequence[int]) -> int:
    """The rank that is enough for any tensor of that shape: a matrix's smaller side; else all but its longest mode."""
    return min(shape) if len(shape) == 2 else prod(shape) // max(shape)


def highest_tucker(ranks: Sequence[int | None], shape: Sequence[int], mode: int) -> int:
    """The highest rank a mode can have beside the others': its size, and the product of the other ranks."""
    widths = [size if rank is None else rank for rank, size in zip(ranks, shape, strict=True)]
    return min(shape[mode], prod(widths[:mode] + widths[mode + 1 :]))


def lowered(ranks: Ranks, shape: Sequence[int]) -> Ranks:
    """The nearest ranks that a tensor of that shape can have: a recipe is written before the data is seen."""
    if isinstance(ranks, int):
        return min(ranks, highest_cp(shape))
    found = [None if rank is None else min(rank, size) for rank, size in zip(ranks, shape, strict=True)]
    for mode, rank in enumerate(found):
        if rank is not None:
            found[mode] = min(rank, highest_tucker(found, shape, mode))
    return tuple(found)
