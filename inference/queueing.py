"""What waits for an engine, and who goes next: the one policy of every transport.

Three classes of urgency (`core.Priority`), each with a bound of its own, so that no backlog of reports keeps a live
match out. Within a class the earliest deadline goes first. Between classes each run is shared by deficit round-robin
(Shreedhar and Varghese, 1995): every class that waits earns its share of every run and may save it up for a request
that is larger; what the others leave goes to the most urgent. So a live match is hardly ever held up, and nobody waits
for ever.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from inference.core import Priority
from inference.refusals import DeadlineMissed, QueueFull

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARES: Final = {Priority.LIVE_MATCH: 12, Priority.PREFETCH: 3, Priority.ANALYTICS: 1}
"""Of each run, in sixteenths, while all three wait."""
BOUNDS: Final = {Priority.LIVE_MATCH: 1.0, Priority.PREFETCH: 0.5, Priority.ANALYTICS: 0.25}
"""Of `max_rows`: how much of each class may wait. The less urgent is refused the sooner."""
_ALL_SHARES: Final = sum(SHARES.values())

Item = TypeVar("Item")


class Entry(Generic[Item]):
    """A place in the queue, to be given up by `Queue.discard`."""

    __slots__ = ("deadline_seconds", "is_waiting", "item", "order", "priority", "rows")

    def __init__(self, item: Item, rows: int, deadline_seconds: float, priority: Priority, order: int) -> None:
        self.item = item
        self.rows = rows
        self.deadline_seconds = deadline_seconds
        self.priority = priority
        self.order = order
        self.is_waiting = True

    def __lt__(self, other: Entry[Item]) -> bool:
        if self.deadline_seconds != other.deadline_seconds:
            return self.deadline_seconds < other.deadline_seconds
        return self.order < other.order


class _Class(Generic[Item]):
    """What waits of one priority, the earliest deadline first.

    Entries that were given up lie in the heap until they come up, or until they are the most of it.
    """

    __slots__ = ("credit_rows", "entries", "heap", "is_full", "max_rows", "rows", "share")

    def __init__(self, share: int, max_rows: int) -> None:
        self.share = share
        self.max_rows = max_rows
        self.heap: list[tuple[float, int, Entry[Item]]] = []
        self.entries = 0
        self.rows = 0
        self.is_full = False
        self.credit_rows = 0.0

    def first(self) -> Entry[Item] | None:
        heap = self.heap
        while heap and not heap[0][2].is_waiting:
            heapq.heappop(heap)
        return heap[0][2] if heap else None

    def leave(self, entry: Entry[Item]) -> None:
        entry.is_waiting = False
        self.entries -= 1
        self.rows -= entry.rows
        if self.is_full and 2 * self.rows <= self.max_rows:
            self.is_full = False
        if not self.entries:
            self.heap.clear()
            self.credit_rows = 0.0  # what is not waiting saves nothing up
        elif len(self.heap) > 2 * self.entries + 64:
            self.heap = [waiting for waiting in self.heap if waiting[2].is_waiting]
            heapq.heapify(self.heap)


class Queue(Generic[Item]):
    """Not for many threads at once: who shares it holds a lock of its own.

    Args:
        max_rows: players that may wait in the most urgent class; the others' bounds are parts of it (`BOUNDS`). One
            request may always wait, however large: all together are at most `BOUNDS`' sum, or three requests.
        max_batch_rows: players in one run; no request has more.
    """

    def __init__(self, max_rows: int, max_batch_rows: int) -> None:
        self._max_batch_rows = max_batch_rows
        self._classes: tuple[_Class[Item], ...] = tuple(
            _Class(SHARES[priority], int(max_rows * BOUNDS[priority])) for priority in Priority
        )
        self._order = itertools.count()
        self.rows = 0

    def __bool__(self) -> bool:
        return self.rows > 0

    @property
    def is_full(self) -> bool:
        """Whether a class had no room for a request, and has not been half empty since."""
        return any(its.is_full for its in self._classes)

    def refusal(
        self, rows: int, priority: Priority, left_seconds: float, run_seconds: float, *, runs_under_way: int = 1
    ) -> QueueFull | DeadlineMissed | None:
        """Why a request may not join; none where it may.

        Not raised: most are asked for when there is least time, and an exception keeps all that its frames hold.

        Args:
            rows: its players.
            priority: its class.
            left_seconds: until its deadline.
            run_seconds: what a run usually takes.
            runs_under_way: 0 where the next run is yet to begin. Who takes part in that is let in whatever is usual:
                after a stall, nothing but a run can tell that runs are short again.
        """
        its = self._classes[priority]
        # One run takes this request; before it come those under way and those that are filled before it.
        runs_before = runs_under_way + (self._runs_ahead(rows, priority) if self.rows else 0)
        expected_seconds = run_seconds * (runs_before + 1)
        if its.rows and its.rows + rows > its.max_rows:
            its.is_full = True
            return QueueFull(its.rows, its.max_rows, max(1, math.ceil(1_000 * expected_seconds)))
        if runs_before and expected_seconds > left_seconds:
            return DeadlineMissed(f"an answer was expected in {1_000 * expected_seconds:.1f} ms, after the deadline")
        return None

    def _runs_ahead(self, rows: int, priority: Priority) -> int:
        """How many runs are filled before this request has its turn: by its urgency, or by its class's share."""
        its = self._classes[priority]
        urgent = sum(other.rows for other in self._classes[: priority + 1])
        by_share = math.ceil((its.rows + rows) * _ALL_SHARES / (its.share * self._max_batch_rows)) - 1
        return min(urgent // self._max_batch_rows, by_share)

    def add(self, item: Item, rows: int, deadline_seconds: float, priority: Priority) -> Entry[Item]:
        """Let a request wait; whether it may was asked before (`refusal`)."""
        its = self._classes[priority]
        entry = Entry(item, rows, deadline_seconds, priority, next(self._order))
        heapq.heappush(its.heap, (deadline_seconds, entry.order, entry))
        its.entries += 1
        its.rows += rows
        self.rows += rows
        return entry

    def discard(self, entry: Entry[Item]) -> None:
        """Give a place up; nothing happens where it has been taken already."""
        if entry.is_waiting:
            self._leave(entry)

    def first(self) -> Entry[Item] | None:
        """The earliest deadline of the most urgent class that waits; it stays where it is."""
        return next((entry for its in self._classes if (entry := its.first()) is not None), None)

    def take(self, taken_rows: int = 0) -> list[Entry[Item]]:
        """The next run: as many as fit, one request at least where one waits and nothing is taken.

        Within a class nobody is overtaken for being larger.

        Args:
            taken_rows: players of the run that are not from here.
        """
        max_rows = self._max_batch_rows - taken_rows
        taken: list[Entry[Item]] = []
        if not self.rows:
            return taken
        free = max_rows
        waiting = [its for its in self._classes if its.rows]
        if len(waiting) > 1:
            all_shares = sum(its.share for its in waiting)
            for its in waiting:
                # More than a run's worth of credit buys nothing: a request is never larger than a run.
                its.credit_rows = min(its.credit_rows + max_rows * its.share / all_shares, float(max_rows))
            # Who has waited longest for its share, by what it has saved up, is served first: a class whose next request
            # fills a whole run would otherwise always find a part of the run taken.
            for its in sorted(waiting, key=lambda its: its.credit_rows / its.share, reverse=True):
                free -= self._serve(its, min(free, int(its.credit_rows)), taken, on_credit=True)
        for its in waiting:
            free -= self._serve(its, free, taken, on_credit=False)
        return taken

    def _serve(self, its: _Class[Item], rows: int, taken: list[Entry[Item]], *, on_credit: bool) -> int:
        served = 0
        while (entry := its.first()) is not None and served + entry.rows <= rows:
            heapq.heappop(its.heap)
            served += entry.rows
            if on_credit:
                its.credit_rows -= entry.rows
            taken.append(entry)
            self._leave(entry)
        return served

    def _leave(self, entry: Entry[Item]) -> None:
        self._classes[entry.priority].leave(entry)
        self.rows -= entry.rows

    def expire(self, now_seconds: float) -> list[Entry[Item]]:
        """Those whose deadline has passed; they wait no more."""
        expired: list[Entry[Item]] = []
        for its in self._classes:
            while (entry := its.first()) is not None and entry.deadline_seconds <= now_seconds:
                heapq.heappop(its.heap)
                expired.append(entry)
                self._leave(entry)
        return expired

    def clear(self) -> list[Entry[Item]]:
        """Everybody; nobody waits any more."""
        return list(self._drain())

    def _drain(self) -> Iterator[Entry[Item]]:
        while (entry := self.first()) is not None:
            self._leave(entry)
            yield entry


MAX_RUNS_WAITED: Final = _ALL_SHARES + 1
"""A class that waits has a request served within so many runs, whatever else comes: its credit grows by a sixteenth of
a run at least, and a request is a run at most."""
