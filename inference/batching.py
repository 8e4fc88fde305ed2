"""Natural batching on the callers' own threads: leader and followers, no batching thread, no timer.

A caller that finds the engine idle runs its request at once: it is the leader. Requests that come meanwhile wait, each
on its own thread, as followers. When the leader's run ends it makes the follower with the earliest deadline the next
leader, which takes along all that waits, as far as it fits, runs it once and wakes their threads. So the load itself
sets the batch size: an idle server adds no delay, a busy one shares each run among many.

On one core, and under Python's global lock, arrivals cannot collect while a run is on: they would be run one by one. So
a leader that knows of other calls on their way first steps back once (`sched_yield`): threads that are ready to bring
their requests do so, and if there is none it goes on at once.
"""

from __future__ import annotations

import heapq
import itertools
import math
import os
import threading
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from inference.refusals import Cancelled, Closed, DeadlineMissed, QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.contract.errors import InvalidRequest
    from inference.core import Request, Response

    Answer = Response | InvalidRequest

_SMOOTHING = 0.1
"""Weight of the newest run in the running mean of run times."""


class Observer(Protocol):
    """Hears of every run."""

    def batch(self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float) -> None:
        """One run has ended: its answers, how long each request had waited for it, how long it took."""
        ...


class _State(Enum):
    WAITING = auto()
    LEADING = auto()
    TAKEN = auto()
    ANSWERED = auto()
    GIVEN_UP = auto()


class _Job:
    """A follower's request. `wake` is held until there is news for its thread; `state` changes under the lock."""

    __slots__ = ("arrived_seconds", "deadline_seconds", "is_wanted", "outcome", "request", "state", "wake")

    def __init__(
        self, request: Request, arrived_seconds: float, deadline_seconds: float, is_wanted: Callable[[], bool] | None
    ) -> None:
        self.request = request
        self.arrived_seconds = arrived_seconds
        self.deadline_seconds = deadline_seconds
        self.is_wanted = is_wanted
        self.state = _State.WAITING
        self.outcome: Response | BaseException | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class Batcher:
    """Shares one engine among many calling threads.

    Args:
        predict: answers a list of requests, in order, each with a response or with its fault; called by one thread at
            a time.
        max_batch_rows: players in one run. A request larger than what is left of a batch waits for the next one.
        max_queue_rows: players that may wait.
        observer: hears of every run.
        others_are_coming: whether other calls have reached the server that have not reached `submit` yet.

    All times are `time.monotonic` seconds.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Request]], Sequence[Answer]],
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        observer: Observer,
        others_are_coming: Callable[[], bool] = lambda: False,
    ) -> None:
        self._predict = predict
        self._max_batch_rows = max_batch_rows
        self._max_queue_rows = max_queue_rows
        self._observer = observer
        self._others_are_coming = others_are_coming
        self._lock = threading.Lock()
        self._queue: list[tuple[float, int, _Job]] = []
        self._order = itertools.count()
        self._waiting_rows = 0
        self._busy = False
        self._closed = False
        self._idle = threading.Event()
        self._mean_run_seconds = 0.0

    @property
    def waiting_rows(self) -> int:
        """Players that wait for the engine now."""
        return self._waiting_rows

    def submit(
        self,
        request: Request,
        *,
        arrived_seconds: float | None = None,
        deadline_seconds: float = math.inf,
        is_wanted: Callable[[], bool] | None = None,
    ) -> Response:
        """Answer a request, with others where there are others.

        Args:
            request: at most `max_batch_rows` players.
            arrived_seconds: since when it has waited, for the observer; now, unless told.
            deadline_seconds: when the answer is worthless.
            is_wanted: asked just before the run if the request had to wait; false drops it.

        Raises:
            QueueFull, DeadlineMissed, Cancelled, Closed: it was not computed, or not in time.
            InvalidRequest: it is faulty.
            Exception: what `predict` raised on this very request.
        """
        now = time.monotonic()
        job = _Job(request, now if arrived_seconds is None else arrived_seconds, deadline_seconds, is_wanted)
        with self._lock:
            self._admit(request.rows, now, deadline_seconds)
            if self._busy:
                heapq.heappush(self._queue, (deadline_seconds, next(self._order), job))
                self._waiting_rows += request.rows
            else:
                self._busy = True
                job.state = _State.LEADING
        if job.state is _State.LEADING:
            if self._others_are_coming():
                os.sched_yield()
            self._lead(job)
        else:
            self._follow(job)
        if isinstance(job.outcome, BaseException):
            raise job.outcome
        assert job.outcome is not None
        return job.outcome

    def close(self, timeout_seconds: float) -> bool:
        """Take no more requests and wait until all that were taken are answered; whether they are."""
        with self._lock:
            self._closed = True
            if not self._busy:
                self._idle.set()
        return self._idle.wait(timeout_seconds)

    def _admit(self, rows: int, now: float, deadline_seconds: float) -> None:
        if self._closed:
            msg = "the server is shutting down"
            raise Closed(msg)
        if now >= deadline_seconds:
            msg = "the deadline had passed on arrival"
            raise DeadlineMissed(msg)
        if not self._busy:
            return
        # One run is under way and one takes this request; between them those that the waiting players fill.
        expected_seconds = self._mean_run_seconds * (2 + self._waiting_rows // self._max_batch_rows)
        if self._waiting_rows + rows > self._max_queue_rows:
            raise QueueFull(self._waiting_rows, self._max_queue_rows, max(1, math.ceil(1_000 * expected_seconds)))
        if now + expected_seconds > deadline_seconds:
            msg = f"an answer was expected in {1_000 * expected_seconds:.1f} ms, after the deadline"
            raise DeadlineMissed(msg)

    def _follow(self, job: _Job) -> None:
        try:
            left_seconds = max(0.0, job.deadline_seconds - time.monotonic())
            if not job.wake.acquire(timeout=min(left_seconds, threading.TIMEOUT_MAX)):
                self._give_up(job)
        except BaseException:  # the waiting thread itself is being stopped: nobody may be left waiting for it
            self._give_up(job)
            if job.state is _State.LEADING:
                self._hand_over()
            raise
        if job.state is _State.LEADING:
            self._lead(job)

    def _give_up(self, job: _Job) -> None:
        """Leave at the deadline, unless the answer or the leadership arrived at that very moment."""
        with self._lock:
            if job.state in (_State.LEADING, _State.ANSWERED):
                return
            if job.state is _State.WAITING:
                self._waiting_rows -= job.request.rows
            job.state = _State.GIVEN_UP
        job.outcome = DeadlineMissed("the deadline passed while the request waited for the engine")

    def _lead(self, leader: _Job) -> None:
        """Run one batch: the leader's request and what else waits. Then hand over, whatever happened."""
        jobs = [leader]
        try:
            with self._lock:
                jobs += self._take(self._max_batch_rows - leader.request.rows)
            now = time.monotonic()
            jobs = [job for job in jobs if self._still_worth(job, now)]
            if jobs:
                self._run(jobs, now)
        finally:
            # Only something like an interpreter that shuts down leaves a job without an answer here.
            left = [job for job in jobs if job.outcome is None]
            self._settle(left, [Closed("the thread that served the request was stopped") for _ in left])
            self._hand_over()

    def _take(self, free_rows: int) -> list[_Job]:
        """Earliest deadlines first, until one does not fit: it must not be overtaken for ever by smaller ones."""
        jobs = []
        while self._queue:
            job = self._queue[0][2]
            if job.state is _State.WAITING:
                rows = job.request.rows
                if rows > free_rows:
                    break
                free_rows -= rows
                self._waiting_rows -= rows
                job.state = _State.TAKEN
                jobs.append(job)
            heapq.heappop(self._queue)
        return jobs

    def _still_worth(self, job: _Job, now: float) -> bool:
        if now >= job.deadline_seconds:
            self._settle((job,), (DeadlineMissed("the deadline passed while the request waited for the engine"),))
        else:
            try:
                if job.is_wanted is None or job.is_wanted():
                    return True
                self._settle((job,), (Cancelled("the caller cancelled while the request waited for the engine"),))
            except Exception as error:  # of this caller's own making; the others in the batch must not hear of it
                self._settle((job,), (error,))
        return False

    def _run(self, jobs: list[_Job], now: float) -> None:
        try:
            answers = self._predict([job.request for job in jobs])
        except Exception as error:  # it belongs to one of them: find out whose by running each alone
            if len(jobs) == 1:
                self._settle(jobs, (error,))
            else:
                for job in jobs:
                    self._run([job], now)
            return
        run_seconds = time.monotonic() - now
        self._mean_run_seconds += _SMOOTHING * (run_seconds - self._mean_run_seconds)
        self._observer.batch(answers, [now - job.arrived_seconds for job in jobs], run_seconds)
        self._settle(jobs, answers)

    def _settle(self, jobs: Sequence[_Job], outcomes: Sequence[Response | BaseException]) -> None:
        """Hand every job its outcome and wake its thread, unless that has left."""
        with self._lock:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if job.state is not _State.GIVEN_UP:
                    job.outcome = outcome
                    was_leading = job.state is _State.LEADING
                    job.state = _State.ANSWERED
                    if not was_leading:
                        job.wake.release()

    def _hand_over(self) -> None:
        with self._lock:
            while self._queue:
                job = heapq.heappop(self._queue)[2]
                if job.state is _State.WAITING:
                    job.state = _State.LEADING
                    self._waiting_rows -= job.request.rows
                    job.wake.release()
                    return
            self._busy = False
            if self._closed:
                self._idle.set()
