"""A version that answers copies of calls for nobody but the statistics: how far are its values from the live one's?

The serving thread only puts the answers that it has made into a bounded queue. Another thread has the shadow version
answer the same requests and compares. When the queue is full, copies are dropped and counted.
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inference.core import WIRE_FLOAT32, Response
from inference.instruments import Counter, Distribution
from inference.repository.split import checked_percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from inference.batching import Answer
    from inference.contract.behaviours import Behaviour
    from inference.models import ServedModel

BOUNDS: Final = tuple(float(f"1e{exponent}") for exponent in range(-6, 7))
"""Of a difference: from nothing but rounding to the largest amount of seconds."""

_BASE_UNITS: Final = {"probability": ("ratio", 1.0), "hours": ("seconds", 3_600.0)}
"""A behaviour's unit → Prometheus' base unit, and how many of it one is. Counts stay as they are."""

_LOG = logging.getLogger(__name__)


class Difference(NamedTuple):
    """How far the two versions were apart on one behaviour; differences are absolute and in `unit`.

    Attributes:
        behaviour: its name.
        unit: ratio (of probabilities), seconds, or what is counted.
        distribution: one observation per player, over `BOUNDS`.
        largest: of them.
    """

    behaviour: str
    unit: str
    distribution: Distribution
    largest: float

    @property
    def mean(self) -> float:
        """Mean over the players; 0 without any."""
        players = sum(self.distribution.counts)
        return self.distribution.total / players if players else 0.0


class Differences:
    """Sums them up, many players at once.

    Args:
        behaviours: columns of the live version's answers.
    """

    def __init__(self, behaviours: Sequence[Behaviour]) -> None:
        self._names = [behaviour.name for behaviour in behaviours]
        units = [_BASE_UNITS.get(behaviour.unit, (behaviour.unit, 1.0)) for behaviour in behaviours]
        self._units = [unit for unit, _ in units]
        self._scales = np.array([scale for _, scale in units])
        self._counts = np.zeros((len(behaviours), len(BOUNDS) + 1), dtype=np.int64)
        self._totals = np.zeros(len(behaviours))
        self._largest = np.zeros(len(behaviours))
        self._lock = threading.Lock()

    def add(self, columns: Sequence[int], one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Compare values (players, columns) of the behaviours with these indices."""
        own = list(columns)
        apart = np.abs(one.astype(np.float64) - other) * self._scales[own]
        buckets = np.searchsorted(BOUNDS, apart)  # a bucket's bound belongs to it
        with self._lock:
            np.add.at(self._counts, (np.array(own), buckets), 1)
            self._totals[own] += apart.sum(axis=0)
            self._largest[own] = np.maximum(self._largest[own], apart.max(axis=0))

    def read(self) -> list[Difference]:
        """Per behaviour, as of now."""
        with self._lock:
            return [
                Difference(name, unit, Distribution(tuple(map(int, counts)), float(total)), float(largest))
                for name, unit, counts, total, largest in zip(
                    self._names, self._units, self._counts, self._totals, self._largest, strict=True
                )
            ]


class Shadow:
    """Answers copies of a live version's calls.

    Args:
        behaviours: of the live version.
        model: the shadow version; takes the same features and predicts at least the same behaviours.
        percent: share of the live version's calls, 0 to 100; every n-th, not drawn.
        max_queue_rows: players in copies that wait.
    """

    def __init__(
        self, behaviours: Sequence[Behaviour], model: ServedModel, percent: float, max_queue_rows: int
    ) -> None:
        self.model = model
        self.percent = checked_percent(percent)
        self.differences = Differences(behaviours)
        self.compared, self.dropped, self.failed = Counter(), Counter(), Counter()
        theirs = model.manifest.behaviour_names
        self._columns = [theirs.index(behaviour.name) for behaviour in behaviours]
        self._max_queue_rows = max_queue_rows
        self._waiting_rows = 0
        self._due_percent = 0.0
        self._lock = threading.Lock()
        self._queue: SimpleQueue[list[Response] | None] = SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def tap(self, answers: Sequence[Answer]) -> None:
        """Take copies of some answers of the live version (`models.Tap`)."""
        taken, dropped = [], 0
        with self._lock:
            for answer in answers:
                if not isinstance(answer, Response) or answer.degraded or not self._is_due():
                    continue
                if self._waiting_rows + answer.request.rows > self._max_queue_rows:
                    dropped += 1
                else:
                    self._waiting_rows += answer.request.rows
                    taken.append(answer)
        if dropped:
            self.dropped.add(dropped)
        if taken:
            self._queue.put(taken)

    def close(self) -> None:
        """Compare no more; returns when the thread has ended."""
        self._closed.set()
        self._queue.put(None)
        self._thread.join()

    def _is_due(self) -> bool:
        self._due_percent += self.percent
        if self._due_percent < 100:
            return False
        self._due_percent -= 100
        return True

    def _work(self) -> None:
        while (copies := self._queue.get()) is not None and not self._closed.is_set():
            try:
                self._compare(copies)
            except Exception:  # of the shadow version's own making: nobody waits for it
                _LOG.exception("the shadow version failed on %d calls", len(copies))
                self.failed.add(len(copies))
            with self._lock:
                self._waiting_rows -= sum(copy.request.rows for copy in copies)
            del copies  # or they would stay until the next ones come

    def _compare(self, copies: Sequence[Response]) -> None:
        asked = [copy.request.columns or range(len(self._columns)) for copy in copies]
        requests = [
            copy.request._replace(columns=tuple(self._columns[column] for column in columns))
            for copy, columns in zip(copies, asked, strict=True)
        ]
        for copy, columns, answer in zip(copies, asked, self.model.predict(requests), strict=True):
            if not isinstance(answer, Response) or answer.degraded:
                self.failed.add()
                continue
            shape = (copy.request.rows, len(columns))
            live, shadow = (np.frombuffer(one.values, WIRE_FLOAT32).reshape(shape) for one in (copy, answer))
            self.differences.add(columns, live, shadow)
            self.compared.add()
