from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from inference.contract import exact

seconds = st.integers(0, 10 * 365 * 86_400)
masked = st.integers(1, 6).flatmap(
    lambda rows: st.tuples(
        npst.arrays(np.int64, (rows, 8), elements=seconds), npst.arrays(np.bool_, (rows, 8), elements=st.booleans())
    )
)
Masked = tuple[np.ndarray[tuple[int, int], np.dtype[np.int64]], np.ndarray[tuple[int, int], np.dtype[np.bool_]]]


@given(masked)
def test_median_and_deviation_of_known_values(drawn: Masked) -> None:
    values, known = drawn
    values = np.where(known, values, 0)
    medians, deviations = exact.median(values, known), exact.deviation(values, known)
    for row in range(len(values)):
        present = values[row][known[row]].tolist()
        if present:
            assert medians[row] == statistics.median(present)
        else:
            assert math.isnan(medians[row])
        if len(present) > 1:
            assert deviations[row] == pytest.approx(statistics.pstdev(present), rel=1e-12, abs=1e-9)
        else:
            assert math.isnan(deviations[row])


def test_deviation_of_the_longest_gaps_fits_int64() -> None:
    gaps = np.array([[0, 10 * 365 * 86_400] * 4], dtype=np.int64)
    assert exact.deviation(gaps, gaps >= 0)[0] == gaps.max() / 2


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.data())
def test_first_after_is_a_search_in_each_rows_part(values: list[int], data: st.DataObject) -> None:
    ordered = np.array(sorted(values), dtype=np.int64)
    begin = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(begin, len(values)))
    bound = data.draw(st.integers(-1, 21))
    found = exact.first_after(ordered, np.array([begin]), np.array([end]), np.array([bound]))
    assert found[0] == next((i for i in range(begin, end) if ordered[i] > bound), end)


def test_ratio_of_nothing_is_nan() -> None:
    assert np.array_equal(exact.ratio(np.array([1, 0]), np.array([4, 0])), [0.25, np.nan], equal_nan=True)


def test_prefix_sum_starts_with_nothing() -> None:
    assert exact.prefix_sum(np.array([3, 4], dtype=np.int64)).tolist() == [0, 3, 7]


def test_half_life_weights_halve() -> None:
    assert exact.half_life_weights(2, 5).tolist() == [2**20, 741_455, 2**19, 370_728, 2**18]


def test_circle_is_rounded_beyond_the_last_bits() -> None:
    sine, cosine = exact.circle(4)
    assert sine.tolist() == [0.0, 1.0, 0.0, -1.0]
    assert cosine.tolist() == [1.0, 0.0, -1.0, 0.0]
    assert exact.circle(1_440)[0][60] == round(math.sin(2 * math.pi / 24), 12)
