"""How often what is served was changed, or could not be."""

from __future__ import annotations

import threading
from typing import Final

from inference.instruments import Counter

ROLLBACK_REASONS: Final = ("operator", "errors", "latency")


class Changes:
    """Counters per model; those of a model begin when it is first named, which only folders can bring about."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.swaps: dict[str, Counter] = {}
        self.load_failures: dict[str, Counter] = {}
        self.rollbacks: dict[tuple[str, str], Counter] = {}

    def know(self, model: str) -> None:
        """Show a model's counters from now on, at 0: a rate needs a first value."""
        with self._lock:
            if model not in self.swaps:
                # Whoever reads them meanwhile goes on with the dictionaries as they were.
                self.swaps = {**self.swaps, model: Counter()}
                self.load_failures = {**self.load_failures, model: Counter()}
                self.rollbacks = {**self.rollbacks, **{(model, reason): Counter() for reason in ROLLBACK_REASONS}}
