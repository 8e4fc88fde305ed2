"""Operators' changes are made one at a time."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from inference.repository.faults import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Turns:
    """A line to stand in.

    Args:
        patience_seconds: how long a change waits for the one before it.
    """

    def __init__(self, patience_seconds: float = 30.0) -> None:
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._change = ""

    @contextmanager
    def one(self, what: str) -> Iterator[None]:
        """The time in which a change is the only one.

        Raises:
            Busy: another one takes too long.
        """
        if not self._lock.acquire(timeout=self._patience_seconds):
            raise Busy(what, got=f"{self._change}, still under way", expected="one change at a time", fix="Try again.")
        try:
            self._change = what
            yield
        finally:
            self._lock.release()
