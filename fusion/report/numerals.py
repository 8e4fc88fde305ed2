"""How the report writes numbers: as many digits as mean something, and a real minus sign."""

from __future__ import annotations

from typing import Final

_MINUS: Final = "\N{MINUS SIGN}"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


def signed(value: float) -> str:
    """A change of quality: four decimals and a sign, none for zero."""
    text = f"{value:+.4f}"
    return "0.0000" if float(text) == 0 else text.replace("-", _MINUS)


def tick(value: float) -> str:
    """A change on an axis: a sign, none for zero, and no digit too many."""
    return f"{value:+.6g}".replace("-", _MINUS) if value else "0"


def count(value: float) -> str:
    """A whole number, thousands apart."""
    return f"{value:,.0f}"


def kilobytes(size_bytes: float) -> str:
    """Bytes as KiB, or MiB or GiB where they are many: three digits."""
    size, unit = size_bytes / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if size >= 999.5:
            size, unit = size / 1024, larger
    return f"{size:.3g} {unit}"


def percent(share: float) -> str:
    """A share, with a decimal where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.1f} %"


def joules(value: float) -> str:
    """Joules in the prefix that gives one to three digits before the point."""
    for factor, unit in ((1.0, "J"), (1e-3, "mJ")):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value / 1e-6:.3g} µJ"


def times(before: float, after: float, less: str, more: str) -> tuple[str, str]:
    """How many times less than before, or more: the factor, and which of the two words holds."""
    if not before or not after:
        return "?", less
    factor, word = (before / after, less) if before >= after else (after / before, more)
    return f"{factor:.1f}{_TIMES}" if factor < 9.95 else f"{factor:.0f}{_TIMES}", word
