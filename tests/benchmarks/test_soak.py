"""The verdict of a soak has to be able to be bad."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.soak import Sample, verdict

FLAT = [Sample(200.0 if number < 10 else 100.0, 20, 30) for number in range(30)]


def grown(**last: float) -> list[Sample]:
    base = {"resident_mib": 100.0, "threads": 20, "descriptors": 30}
    return FLAT[:20] + [Sample(**{**base, **last})] * 10  # type: ignore[arg-type]


def test_what_falls_after_the_warm_up_is_steady() -> None:
    assert verdict(FLAT, Counter(OK=9, INVALID_ARGUMENT=1)).steady


@pytest.mark.parametrize("samples", [grown(resident_mib=105.0), grown(threads=21), grown(descriptors=31)])
def test_what_grows_is_not(samples: list[Sample]) -> None:
    assert not verdict(samples, Counter(OK=9)).steady


@pytest.mark.parametrize("ended", [Counter(OK=9, INTERNAL=1), Counter(OK=9, wrong=1)])
def test_nor_is_what_went_wrong(ended: Counter[str]) -> None:
    judged = verdict(FLAT, ended)
    assert not judged.steady
    assert judged.unexpected + judged.wrong == 1
