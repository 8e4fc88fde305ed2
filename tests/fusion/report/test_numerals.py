from __future__ import annotations

import pytest

from fusion.report.numerals import count, joules, kilobytes, percent, signed, tick, times

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00031, "+0.0003"), (-0.1234, f"{MINUS}0.1234"), (0.0, "0.0000"), (-0.00001, "0.0000"), (0.00001, "0.0000")],
)
def test_a_change_has_a_sign_unless_it_is_none(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0025, "+0.0025"), (-0.1, f"{MINUS}0.1"), (0.0, "0"), (-0.0, "0")])
def test_a_change_on_an_axis_has_its_digits_and_no_more(value: float, text: str) -> None:
    assert tick(value) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (512, "0.5 KiB"),
        (32_216, "31.5 KiB"),
        (1_023_000, "999 KiB"),
        (1_084_344, "1.03 MiB"),
        (1_047_000_000, "998 MiB"),
        (1_300_000_000, "1.21 GiB"),
    ],
)
def test_bytes_have_three_digits(size: int, text: str) -> None:
    assert kilobytes(size) == text


@pytest.mark.parametrize(("share", "text"), [(0.394, "39 %"), (0.0996, "10 %"), (0.0612, "6.1 %"), (1.0, "100 %")])
def test_shares(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.5, "2.5 J"), (0.0012, "1.2 mJ"), (0.0009996, "1 mJ"), (0.000314, "314 µJ"), (3e-8, "0.03 µJ")],
)
def test_joules(value: float, text: str) -> None:
    assert joules(value) == text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (234_280, 7_215, (f"32{TIMES}", "fewer")),
        (30, 10, (f"3.0{TIMES}", "fewer")),
        (10, 15, (f"1.5{TIMES}", "more")),
        (99.6, 10, (f"10{TIMES}", "fewer")),
        (0, 5, ("?", "fewer")),
    ],
)
def test_times(before: float, after: float, said: tuple[str, str]) -> None:
    assert times(before, after, "fewer", "more") == said


def test_thousands_are_apart() -> None:
    assert count(1_234_567.4) == "1,234,567"
