"""Exact arithmetic for features: reductions over int64, one correctly rounded floating-point step at the end.

An integer sum does not depend on the order of its terms, on the width of vector registers or on the rows computed
beside it; one IEEE 754 division or square root is correctly rounded everywhere. So equal inputs give equal bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def circle(steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sine and cosine of `steps` equal parts of a turn, to look up instead of computing per row.

    Rounded to 12 decimals, and without negative zeros, because the last bit of a sine differs between vector units and
    C libraries.
    """
    angle: NDArray[np.float64] = np.arange(steps, dtype=np.float64) * (2.0 * np.pi) / steps
    return np.sin(angle).round(12) + 0.0, np.cos(angle).round(12) + 0.0


def half_life_weights(half_life: int, length: int) -> NDArray[np.int64]:
    """(length,) fixed-point weights of an exponentially weighted mean, newest first: 2^20 · 2^(-k / half_life)."""
    return np.rint(2.0**20 * 2.0 ** (-np.arange(length) / half_life)).astype(np.int64)


def prefix_sum(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n + 1,) sums of the first 0..n values: the sum over a..b is `prefix[b] - prefix[a]`, exactly."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values, dtype=np.int64)))


def first_after(
    values: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64], bound: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Per row, the first index in [begin, end) whose value is > bound (end if none): a vectorised binary search."""
    low = np.broadcast_to(begin, bound.shape).copy()
    high = np.broadcast_to(end, bound.shape).copy()
    while np.any(low < high):
        middle = (low + high) >> 1
        after = values[np.minimum(middle, len(values) - 1)] > bound
        searching = low < high
        high = np.where(searching & after, middle, high)
        low = np.where(searching & ~after, middle + 1, low)
    return low


def ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Elementwise quotient of exact integers; NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def weighted_mean(
    values: NDArray[np.int64], known: NDArray[np.bool_], weights: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Weighted mean of each row's known values; NaN where there is none. Values not known must be 0."""
    return ratio((values * weights).sum(axis=1), (known * weights).sum(axis=1))


def median(values: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Median of each row's known values; NaN where there is none. Twice the largest value must fit int64."""
    last_place = np.iinfo(np.int64).max // 2
    ordered = np.sort(np.where(known, values, last_place), axis=1)
    count = known.sum(axis=1, keepdims=True)
    low, high = (np.take_along_axis(ordered, np.maximum(index, 0) // 2, axis=1) for index in (count - 1, count))
    return np.where(count > 0, (low + high) / 2, np.nan)[:, 0]


def deviation(values: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Standard deviation of each row's known values; NaN with fewer than two. Values not known must be 0."""
    count = known.sum(axis=1)
    total = values.sum(axis=1)
    spread = count * (values * values).sum(axis=1) - total * total
    return np.where(count > 1, np.sqrt(spread) / np.maximum(count, 1), np.nan)
