"""What the server counts while it works. Label values come from fixed sets: never from a caller, never a player."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inference.contract.errors import InvalidRequest
from inference.instruments import Counter, Histogram
from inference.statistics import RunStatistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.batching import Answer

SECONDS_BOUNDS: Final = (
    *(0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075),
    *(0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
"""0.25 ms to 2.5 s: from an idle server's answer to one that no matchmaker waits for."""

ROWS_BOUNDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)

CODES: Final = (
    *("OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE", "NOT_FOUND"),
    *("UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION", "INTERNAL"),
)
REASONS: Final = (
    *("invalid", "overloaded", "queue_full", "deadline", "cancelled", "shutting_down", "unknown_model"),
    *("too_large", "unauthenticated", "permission_denied", "not_possible"),
)


class CallMetrics:
    """Counters of the calls to one server, whichever model they ask for.

    Args:
        methods: names of all methods.
    """

    def __init__(self, methods: Sequence[str]) -> None:
        self.request_seconds = {(method, code): Histogram(SECONDS_BOUNDS) for method in methods for code in CODES}
        self.rejected = {reason: Counter() for reason in REASONS}


class ModelMetrics:
    """Counters of one version of a model.

    Args:
        behaviours: how many it predicts.
    """

    def __init__(self, behaviours: int) -> None:
        self.batch_rows = Histogram(ROWS_BOUNDS)
        self.queue_wait_seconds = Histogram(SECONDS_BOUNDS)
        self.inference_seconds = Histogram(SECONDS_BOUNDS)
        self.degraded = Counter()
        self.sessions_dropped = Counter()
        self.runs = RunStatistics()
        self.unanswered = Counter()
        """Calls that found no room or no answer in time."""
        self._all_behaviours = Counter()
        self._some_behaviours = [Counter() for _ in range(behaviours)]

    def batch(self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float) -> None:
        """One run of the engine has ended (`batching.Observer`)."""
        rows_of_all = 0
        rows = 0
        for answer in answers:
            if isinstance(answer, InvalidRequest):
                continue
            (_, its_rows, columns, _, _, dropped_sessions, _, _), _, degraded = answer
            rows += its_rows
            if columns is None:
                rows_of_all += its_rows
            else:
                for column in columns:
                    self._some_behaviours[column].add(its_rows)
            if degraded:
                self.degraded.add()
            if dropped_sessions:
                self.sessions_dropped.add(dropped_sessions)
        self._all_behaviours.add(rows_of_all)
        self.batch_rows.observe(rows)
        self.inference_seconds.observe(run_seconds)
        self.queue_wait_seconds.observe(*waited_seconds)
        self.runs.add(answers, waited_seconds, run_seconds, rows)

    def predictions(self) -> list[float]:
        """Players answered so far, per behaviour."""
        return [self._all_behaviours.value + some.value for some in self._some_behaviours]
