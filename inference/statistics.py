"""Sums over the runs of one model, as the Open Inference Protocol's statistics want them: per request, not per run."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.batching import Answer


class RunSums(NamedTuple):
    """What was measured so far, at one moment.

    Attributes:
        answered: requests.
        faulty: requests that reached a run and whose values were then refused.
        waited_seconds: from arrival to run, of the answered ones together.
        computed_seconds: each answered request counts the whole run that it was in.
        faulty_seconds: from arrival to the end of the run, of the faulty ones together.
        rows: players answered.
        runs: of the engine.
        last_run_epoch_seconds: Unix time of the end of the last one; 0 before.
    """

    answered: int = 0
    faulty: int = 0
    waited_seconds: float = 0.0
    computed_seconds: float = 0.0
    faulty_seconds: float = 0.0
    rows: int = 0
    runs: int = 0
    last_run_epoch_seconds: float = 0.0


class RunStatistics:
    """Adds up runs; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = RunSums()

    def add(
        self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float, answered_rows: int
    ) -> None:
        """One run has ended (see `batching.Observer`)."""
        faulty = [index for index, answer in enumerate(answers) if isinstance(answer, InvalidRequest)]
        faulty_waited = sum(waited_seconds[index] for index in faulty)
        answered = len(answers) - len(faulty)
        with self._lock:
            old = self._sums
            self._sums = RunSums(
                old.answered + answered,
                old.faulty + len(faulty),
                old.waited_seconds + sum(waited_seconds) - faulty_waited,
                old.computed_seconds + run_seconds * answered,
                old.faulty_seconds + faulty_waited + run_seconds * len(faulty),
                old.rows + answered_rows,
                old.runs + 1,
                time.time(),
            )

    def read(self) -> RunSums:
        """A consistent copy."""
        return self._sums
