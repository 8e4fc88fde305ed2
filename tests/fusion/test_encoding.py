"""The piecewise-linear encoding against its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fusion.encoding import PiecewiseLinearEncoding

_NAMES = ("a", "b", "c")


def test_bins_fill_one_after_the_other() -> None:
    features = np.arange(101, dtype=np.float32)[:, None]
    encoding = PiecewiseLinearEncoding.fit(features, ("a",), 4)
    encoded = encoding.encode(np.array([[-5.0], [0.0], [12.5], [25.0], [60.0], [100.0], [1e9]], dtype=np.float32))
    expected = [
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0.5, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0.4, 0],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
    ]
    np.testing.assert_allclose(encoded[:, :, 0].astype(np.float64), np.array(expected, dtype=np.float64), atol=1e-6)


def test_missing_values_are_taken_for_the_median() -> None:
    features = np.array([[1.0], [np.nan], [3.0], [9.0]], dtype=np.float32)
    encoding = PiecewiseLinearEncoding.fit(features, ("a",), 3)
    missing, median = np.array([[np.nan]], dtype=np.float32), np.array([[3.0]], dtype=np.float32)
    np.testing.assert_array_equal(encoding.encode(missing), encoding.encode(median))


def test_features_that_say_nothing_are_left_out() -> None:
    rows = np.array([[1.0, 5.0, np.nan], [2.0, 5.0, np.nan], [3.0, 5.0, np.nan]], dtype=np.float32)
    assert PiecewiseLinearEncoding.fit(rows, _NAMES, 4).features == ("a",)


def test_few_distinct_values_use_few_bins_and_leave_the_rest_empty() -> None:
    rows = np.array([[0.0], [1.0]] * 50, dtype=np.float32)
    encoding = PiecewiseLinearEncoding.fit(rows, ("a",), 8)
    encoded = encoding.encode(np.array([[1.0]], dtype=np.float32))[0, :, 0]
    assert encoded.tolist() == [1.0] + [0.0] * 7


@settings(max_examples=60)
@given(
    rows=hnp.arrays(np.float32, (40, 3), elements=st.floats(-1e6, 1e6, width=32)),
    bins=st.integers(1, 12),
)
def test_every_bin_is_monotone_bounded_and_in_order(rows: NDArray[np.float32], bins: int) -> None:
    encoding = PiecewiseLinearEncoding.fit(rows, _NAMES, bins)
    grid = np.sort(rows, axis=0)[:, [_NAMES.index(name) for name in encoding.features]]
    encoded = encoding.encode(grid)
    assert encoded.shape == (40, bins, len(encoding.features))
    assert encoded.min(initial=0.0) >= 0.0
    assert encoded.max(initial=0.0) <= 1.0
    assert (np.diff(encoded, axis=0) >= 0).all()
    # A bin starts to fill only when the one before it is full.
    used = encoding.slope > 0
    later = np.where(used[1:], encoded[:, 1:], 0.0)
    assert (encoded[:, :-1][later > 0] >= 1.0 - 1e-6).all()
