"""How long to wait before a worker that has died is started again."""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 10.0
HEALTHY_SECONDS: Final = 30.0
"""Whoever has served for so long has earned a quick restart."""


class Backoff:
    """Pauses that double from one death to the next, up to a bound, and begin anew after a healthy time."""

    def __init__(self) -> None:
        self._next_seconds = FIRST_SECONDS

    def after(self, served_seconds: float) -> float:
        """The pause before the next start.

        Args:
            served_seconds: how long the worker that died had been ready; 0 where it never was.
        """
        if served_seconds >= HEALTHY_SECONDS:
            self._next_seconds = FIRST_SECONDS
        pause = self._next_seconds
        self._next_seconds = min(2 * pause, LONGEST_SECONDS)
        return pause
