"""Natural batching on the callers' own threads: leader and followers, no batching thread, no timer.

A caller that finds the engine idle runs its request at once: it is the leader. Requests that come meanwhile wait, each
on its own thread, as followers. When the leader's run ends it makes the most urgent follower the next leader, which
runs what `queueing.Queue` says goes next, once, and wakes their threads. So the load itself sets the batch size: an
idle server adds no delay, a busy one shares each run among many.

On one core, and under Python's global lock, arrivals cannot collect while a run is on: they would be run one by one. So
a leader that knows of other calls on their way first steps back once (`sched_yield`): threads that are ready to bring
their requests do so, and if there is none it goes on at once.
"""

from __future__ import annotations

import math
import os
import threading
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, TypeVar

from inference.queueing import Queue
from inference.refusals import Cancelled, Closed, DeadlineMissed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.contract.errors import InvalidRequest
    from inference.core import Request, Response
    from inference.queueing import Entry

    Answer = Response | InvalidRequest

Outcome = TypeVar("Outcome", bound="Response | BaseException")

_SMOOTHING = 0.1
"""Weight of the newest run in the running mean of run times."""
PASSED = "the deadline passed while the request waited for the engine"
STOPPED = "the thread that served the request was stopped"


class Observer(Protocol):
    """Hears of every run."""

    def batch(self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float) -> None:
        """One run has ended: its answers, how long each request had waited for it, how long it took."""
        ...


class _State(Enum):
    WAITING = auto()
    TAKEN = auto()
    ANSWERED = auto()
    GIVEN_UP = auto()


class _Job:
    """A call's request. `wake` is held until there is news for its thread; all else changes under the lock."""

    __slots__ = ("arrived_seconds", "entry", "is_wanted", "leads", "outcome", "request", "state", "wake")

    entry: Entry[_Job]

    def __init__(self, request: Request, arrived_seconds: float, is_wanted: Callable[[], bool] | None) -> None:
        self.request = request
        self.arrived_seconds = arrived_seconds
        self.is_wanted = is_wanted
        self.leads = False
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
        max_queue_rows: players that may wait in the most urgent class (`queueing.Queue`).
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
        self._observer = observer
        self._others_are_coming = others_are_coming
        self._lock = threading.Lock()
        self._queue: Queue[_Job] = Queue(max_queue_rows, max_batch_rows)
        self._busy = False
        self._closed = False
        self._idle = threading.Event()
        self._mean_run_seconds = 0.0

    @property
    def waiting_rows(self) -> int:
        """Players that wait for the engine now."""
        return self._queue.rows

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
        job = _Job(request, now if arrived_seconds is None else arrived_seconds, is_wanted)
        with self._lock:
            self._admit(request, now, deadline_seconds)
            if self._busy:
                job.entry = self._queue.add(job, request.rows, deadline_seconds, request.priority)
            else:
                self._busy = job.leads = True
                job.state = _State.TAKEN
        if job.leads:
            if self._others_are_coming():
                os.sched_yield()
            self._lead(job)
        else:
            self._follow(job)
            del job.entry  # it knows the job: a circle that would keep the request
        if isinstance(job.outcome, BaseException):
            try:
                raise job.outcome
            finally:
                job.outcome = None  # from here on it knows this frame, and so the job
        assert job.outcome is not None
        return job.outcome

    def close(self, timeout_seconds: float) -> bool:
        """Take no more requests and wait until all that were taken are answered; whether they are."""
        with self._lock:
            self._closed = True
            if not self._busy:
                self._idle.set()
        return self._idle.wait(timeout_seconds)

    def _admit(self, request: Request, now: float, deadline_seconds: float) -> None:
        if self._closed:
            msg = "the server is shutting down"
            raise Closed(msg)
        if now >= deadline_seconds:
            msg = "the deadline had passed on arrival"
            raise DeadlineMissed(msg)
        if self._busy:
            left_seconds = deadline_seconds - now
            refusal = self._queue.refusal(request.rows, request.priority, left_seconds, self._mean_run_seconds)
            if refusal is not None:
                raise refusal

    def _follow(self, job: _Job) -> None:
        try:
            left_seconds = max(0.0, job.entry.deadline_seconds - time.monotonic())
            if not job.wake.acquire(timeout=min(left_seconds, threading.TIMEOUT_MAX)):
                self._give_up(job)
        except BaseException:  # the waiting thread itself is being stopped: nobody may be left waiting for it
            self._give_up(job)
            if job.leads:
                self._hand_over(job)
            raise
        if job.leads:
            self._lead(job)

    def _give_up(self, job: _Job) -> None:
        """Leave at the deadline, unless the answer or the leadership arrived at that very moment."""
        with self._lock:
            if job.leads or job.state is _State.ANSWERED:
                return
            self._queue.discard(job.entry)
            job.state = _State.GIVEN_UP
        job.outcome = DeadlineMissed(PASSED)

    def _lead(self, leader: _Job) -> None:
        """Run batch after batch until the leader's own request is answered, mostly the first. Then hand over."""
        try:
            if leader.state is _State.TAKEN:  # it found the engine idle and never had to queue
                self._run_next(leader)
            while leader.state is _State.WAITING:
                self._run_next()
        finally:
            self._hand_over(leader)

    def _run_next(self, leader: _Job | None = None) -> None:
        """One batch, whatever happens to it; with a leader that is not in the queue."""
        now = time.monotonic()
        late: list[_Job] = []
        jobs = [] if leader is None else [leader]
        with self._lock:
            if self._queue.rows:
                late = [entry.item for entry in self._queue.expire(now)]
                for entry in self._queue.take(0 if leader is None else leader.request.rows):
                    entry.item.state = _State.TAKEN
                    jobs.append(entry.item)
        try:
            if late:
                self._settle(late, [DeadlineMissed(PASSED) for _ in late])
            wanted = [job for job in jobs if job.is_wanted is None or self._is_wanted(job)]
            if wanted:
                self._run(wanted, now)
        finally:
            # Only something like an interpreter that shuts down leaves a job without an answer here.
            if left := [job for job in jobs if job.state is _State.TAKEN]:
                self._settle(left, [Closed(STOPPED) for _ in left])

    def _is_wanted(self, job: _Job) -> bool:
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
        heard = self._decide(jobs, answers)
        try:
            # Counted before anybody is woken: who has an answer finds it counted.
            if heard:
                waited_seconds = [now - job.arrived_seconds for job, _ in heard]
                self._observer.batch([answer for _, answer in heard], waited_seconds, run_seconds)
        finally:
            self._wake(heard)

    def _settle(self, jobs: Sequence[_Job], outcomes: Sequence[Response | BaseException]) -> None:
        """Hand every job its outcome and wake its thread, unless that has left or is the one that leads."""
        self._wake(self._decide(jobs, outcomes))

    def _decide(self, jobs: Sequence[_Job], outcomes: Sequence[Outcome]) -> list[tuple[_Job, Outcome]]:
        """Give every job its outcome; those that were still there for it."""
        heard = []
        with self._lock:
            for job, outcome in zip(jobs, outcomes, strict=True):
                if job.state is not _State.GIVEN_UP:
                    job.outcome = outcome
                    job.state = _State.ANSWERED
                    heard.append((job, outcome))
        return heard

    def _wake(self, heard: Sequence[tuple[_Job, object]]) -> None:
        with self._lock:
            for job, _ in heard:
                if not job.leads:
                    job.wake.release()

    def _hand_over(self, leader: _Job) -> None:
        with self._lock:
            leader.leads = False
            if leader.state is _State.WAITING:  # its thread is being stopped
                self._queue.discard(leader.entry)
                leader.state = _State.GIVEN_UP
            if (entry := self._queue.first()) is not None:
                entry.item.leads = True
                entry.item.wake.release()
                return
            self._busy = False
            if self._closed:
                self._idle.set()
