"""What is still in memory, and what only the collector of reference circles would take away."""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Inside, what is in a circle of references stays."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def objects_of(kind: type) -> int:
    """How many there are."""
    return sum(type(one) is kind for one in gc.get_objects())
