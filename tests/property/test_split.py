"""Whatever the key and the percentage: the split is stable, grows one way, and is as large as it says."""

from __future__ import annotations

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.contract.errors import InvalidRequest
from inference.repository.split import RoutingKeys, Split

KEYS = st.text(max_size=40)
PERCENT = st.floats(0, 100)


@given(KEYS, PERCENT, PERCENT)
def test_raising_the_percentage_only_brings_keys_in(key: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    if Split("net", "2", smaller).takes(key):
        assert Split("net", "2", larger).takes(key)


@given(KEYS, PERCENT)
def test_a_key_meets_the_same_version_in_every_server(key: str, percent: float) -> None:
    """Against the rule as it is documented, computed otherwise."""
    digest = hashlib.sha256(b"net/2/" + key.encode(errors="surrogatepass")).hexdigest()[:16]
    assert Split("net", "2", percent).takes(key) == (int(digest, 16) < round(percent / 100 * 16**16))
    assert Split("net", "2", percent).takes(key) == Split("net", "2", percent).takes(key)


@given(KEYS)
def test_nothing_is_nobody_and_all_is_everybody(key: str) -> None:
    assert not Split("net", "2", 0).takes(key)
    assert Split("net", "2", 100).takes(key)


@given(st.integers(0, 10**9), PERCENT)
def test_the_share_is_as_large_as_it_says(start: int, percent: float) -> None:
    keys, share = 2_000, percent / 100
    taken = sum(Split("net", "2", percent).takes(f"player {start + number}") for number in range(keys))
    # Six standard deviations of a fair draw: never in a lifetime of tests by chance.
    assert abs(taken - keys * share) <= 6 * math.sqrt(keys * share * (1 - share)) + 1


def test_another_version_has_other_guinea_pigs() -> None:
    keys = [f"player {number}" for number in range(2_000)]
    first, second = ([key for key in keys if Split("net", version, 10).takes(key)] for version in "23")
    assert 0 < len(set(first) & set(second)) < len(first) / 2


@pytest.mark.parametrize("percent", [-0.1, 100.1, math.nan, math.inf])
def test_a_percentage_that_is_none_is_refused(percent: float) -> None:
    with pytest.raises(InvalidRequest, match="percent: got"):
        Split("net", "2", percent)


def test_a_call_without_a_key_is_known_by_its_id_or_else_is_one_of_many() -> None:
    keys = RoutingKeys()
    assert keys.of("player", "call 7") == "player"
    assert keys.of("", "call 7") == "call 7"
    spread = [keys.of("") for _ in range(1_000)]
    assert len(set(spread)) == 1_000
    assert 20 < sum(Split("net", "2", 10).takes(key) for key in spread) < 200
