from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.repository.versions import order

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)


@pytest.mark.parametrize(
    "rising",
    [
        ["1", "2", "9", "10", "100"],
        ["1.9", "1.10", "2.0", "10.0"],
        ["1.0-alpha", "1.0-beta.2", "1.0-beta.11", "1.0-rc1", "1.0-rc2", "1.0", "1.0.1", "1.1"],
        ["2025-12-31", "2026-01-05", "2026-01-31", "2026-02-01"],
        ["v1", "v2", "v10"],
        ["1", "a"],
    ],
)
def test_versions_come_in_the_order_that_people_mean(rising: list[str]) -> None:
    for older, newer in itertools.combinations(rising, 2):
        assert order(older) < order(newer), (older, newer)


@given(NAMES, NAMES)
def test_no_two_versions_are_level(one: str, other: str) -> None:
    assert (order(one) == order(other)) == (one == other)
