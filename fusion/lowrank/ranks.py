"""Which ranks a tensor can have at all."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def highest_cp(shape: Sequence[int]) -> int:
    """The rank that is enough for any tensor of that shape: a matrix's smaller side; else all but its longest mode."""
    return min(shape) if len(shape) == 2 else prod(shape) // max(shape)


def highest_tucker(ranks: Sequence[int | None], shape: Sequence[int], mode: int) -> int:
    """The highest rank a mode can have beside the others': its size, and the product of the other ranks."""
    widths = [size if rank is None else rank for rank, size in zip(ranks, shape, strict=True)]
    return min(shape[mode], prod(widths[:mode] + widths[mode + 1 :]))


def highest_train(ranks: Sequence[int], shape: Sequence[int], bond: int) -> int:
    """The highest rank a bond can have: what the core on either side can fill, given that core's other bond."""
    left = 1 if bond == 0 else ranks[bond - 1]
    right = 1 if bond == len(ranks) - 1 else ranks[bond + 1]
    return min(left * shape[bond], shape[bond + 1] * right)


def lowered_cp(rank: int, shape: Sequence[int]) -> int:
    """The nearest rank that a tensor of that shape can have: a recipe is written before the data is seen."""
    return min(rank, highest_cp(shape))


def lowered_tucker(ranks: Sequence[int | None], shape: Sequence[int]) -> tuple[int | None, ...]:
    """The nearest ranks that a Tucker form of that shape can have."""
    found = [None if rank is None else min(rank, size) for rank, size in zip(ranks, shape, strict=True)]
    while True:
        before = list(found)
        for mode, rank in enumerate(found):
            if rank is not None:
                found[mode] = min(rank, highest_tucker(found, shape, mode))
        if found == before:
            return tuple(found)


def lowered_train(ranks: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The nearest ranks that a tensor train of that shape can have."""
    found = list(ranks)
    while True:
        before = list(found)
        for bond, rank in enumerate(found):
            found[bond] = min(rank, highest_train(found, shape, bond))
        if found == before:
            return tuple(found)
