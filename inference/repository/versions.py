"""Which of two versions is the newer one.

Numbers count as numbers: 1.10 comes after 1.9. What follows the first hyphen marks what came before the release, as in
Semantic Versioning: 2.0-rc1 comes before 2.0. A number comes before a word, a shorter version before a longer one that
begins alike: 1.0 before 1.0.1. Dates written 2026-01-31 or 20260131 come in their order.
"""

from __future__ import annotations

import re
from typing import Final

_PIECES: Final = re.compile(r"[0-9]+|[A-Za-z]+")

Order = tuple[tuple[tuple[int, int, str], ...], bool, tuple[tuple[int, int, str], ...], str]


def order(version: str) -> Order:
    """A key to sort versions by, the oldest first; no two versions have the same."""
    release, _, before = version.partition("-")
    return _pieces(release), not before, _pieces(before), version


def _pieces(text: str) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, int(piece), "") if piece.isdigit() else (1, 0, piece) for piece in _PIECES.findall(text))
