"""Calls that come in bursts: a burst is a batch already. One thread takes it in, runs it and answers it.

A call whose shape is known takes part in the next run of this thread. One whose shape is not goes to the calling
threads, which parse it and learn its shape. As long as all that came fits into one run nothing waits and order does not
matter; what does not fit waits in a `queueing.Queue`, and before every further run newcomers are taken in or refused,
so that the more urgent overtake and a refusal never waits for the line.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from inference.contract.errors import InvalidRequest
from inference.queueing import Queue
from inference.refusals import Cancelled, DeadlineMissed, QueueFull, Refused, TooLarge
from inference.transport import front as fronts
from inference.transport.aside import Aside
from inference.transport.front import CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from inference.batching import Answer
    from inference.calls import Answering, Metadata, ScoringMethod, Status
    from inference.core import Priority, Request
    from inference.models import ServedModel
    from inference.queueing import Entry
    from inference.security.guard import Access
    from inference.settings import Limits
    from inference.transport.front import Event, Front
    from inference.transport.workers import Workers

MAX_EVENTS: Final = 512
"""Taken in at once."""
_ALONE: Final = nullcontext()
"""A reply alone leaves at once."""
_SMOOTHING: Final = 0.1
_PASSED: Final = "the deadline passed while the request waited for the engine"
_GONE: Final = "the caller cancelled while the request waited for the engine"


class _Job(NamedTuple):
    call_id: int
    method: ScoringMethod
    model: ServedModel
    request: Request
    arrived_seconds: float
    deadline_seconds: float


_new_job: Final = cast(
    "Callable[[tuple[int, ScoringMethod, ServedModel, Request, float, float]], _Job]", partial(tuple.__new__, _Job)
)
"""See `core.new_request`."""


class Bursts:
    """Takes bursts in and answers them, on one thread that calls `take_in` and `run_next`.

    Args:
        front: where replies go.
        methods: by their number in events.
        answering: counts, and answers what is put aside.
        pool: the calling threads.
        limits: of messages and of the queue.
        access: who may call what; none where nobody is asked for a token.
        handing_over: entered while the replies of several calls are handed to the front.
    """

    def __init__(
        self,
        front: Front,
        methods: Sequence[ScoringMethod],
        answering: Answering,
        pool: Workers,
        limits: Limits,
        access: Access | None = None,
        handing_over: AbstractContextManager[object] = _ALONE,
    ) -> None:
        self._access = access
        self._handing_over = handing_over
        self._front = front
        self._methods = methods
        self._answering = answering
        self._max_message_bytes = limits.max_message_bytes
        self._max_batch_rows = limits.max_batch_rows
        self._max_wait_seconds = limits.max_wait_seconds
        self._queue: Queue[_Job] = Queue(limits.max_queue_rows, limits.max_batch_rows)
        self._waiting: dict[int, Entry[_Job]] = {}
        self._aside = Aside(front, answering, pool)
        self._mean_run_seconds = 0.0
        self._last_calls = 0
        self._holding = False
        self.busy = False
        self.held = 0

    @property
    def waiting_rows(self) -> int:
        """Players that wait for this thread's next runs."""
        return self._queue.rows

    @property
    def unanswered(self) -> int:
        """Calls that were taken and have no answer yet; those of a burst being run count as one."""
        return len(self._waiting) + len(self._aside) + self.busy

    @property
    def max_newcomers(self) -> int:
        """How many events to take in before the next run.

        To take in and refuse a call costs half of what it costs to answer one, and many of those who are refused come
        back at once. So from when there is no room until half of it is free, one more is taken in than were answered;
        the others wait, their number bounded by `max_calls_per_connection`.
        """
        return min(MAX_EVENTS, self._last_calls + 1) if self._queue.is_full else MAX_EVENTS

    def hold_new(self) -> None:
        """From now on leave the calls that come without an answer: the transport ends them when it closes."""
        self._holding = True

    def take_in(self, events: Sequence[Event]) -> None:
        """Let calls wait, run them at once where all fit into one run, or refuse them. Never raises."""
        self.busy = True
        now = time.monotonic()
        try:
            burst = self._sorted_out(events, now)
            if not burst:
                return
            if self._queue.rows or sum([job.request.rows for job in burst]) > self._max_batch_rows:
                self._let_wait(burst, now)
            else:
                self._run(burst)
        except Exception as error:  # a fault of ours; nobody may be left waiting, and the thread must live on
            for kind, call_id, method_id, *_ in events:
                if kind == CALL and call_id not in self._aside and call_id not in self._waiting:
                    self._fail(call_id, self._answering.refuse(self._methods[method_id], now, error))
        finally:
            self.busy = False

    def run_next(self) -> None:
        """One run of what waits. Never raises."""
        if not self._queue.rows:
            return
        self.busy = True
        jobs: list[_Job] = []
        try:
            for entry in self._queue.expire(time.monotonic()):
                self._refuse((entry.item,), DeadlineMissed(_PASSED))
            jobs = [entry.item for entry in self._queue.take()]
            self._last_calls = len(jobs)
            if jobs:
                self._run(jobs)
        except Exception as error:
            for job in jobs:
                self._refuse((job,), error)
        finally:
            for job in jobs:
                self._waiting.pop(job.call_id, None)
            self.busy = False

    def _sorted_out(self, events: Sequence[Event], now: float) -> list[_Job]:
        """The calls to be run by this thread; the others are on their way when it returns."""
        methods, max_wait_seconds, access = self._methods, self._max_wait_seconds, self._access
        quick = [method.quick for method in methods]
        burst = []
        gone: set[int] = set()
        for kind, call_id, method_id, message, _, details in events:
            if kind != CALL or message is None or details is None:
                gone.add(call_id)
                continue
            if self._holding:
                self.held += 1
                continue
            method = methods[method_id]
            if access is not None and not self._may_call(access, call_id, method, now, details[0]):
                continue
            left_seconds = details[2]
            if left_seconds is None or left_seconds > max_wait_seconds:
                left_seconds = max_wait_seconds
            if (asked := quick[method_id](message)) is None:
                if len(message) > self._max_message_bytes:
                    too_large = TooLarge(len(message), self._max_message_bytes)
                    self._fail(call_id, self._answering.refuse(method, now, too_large))
                else:
                    self._aside.put(call_id, method, message, now, now + left_seconds, details[0])
            elif left_seconds > 0:
                model, request, timeout_seconds = asked
                deadline = now + (left_seconds if left_seconds < timeout_seconds else timeout_seconds)
                burst.append(_new_job((call_id, method, model, request, now, deadline)))
            else:
                self._fail(call_id, self._answering.refuse(method, now, DeadlineMissed("the deadline had passed")))
        return self._without(gone, burst) if gone else burst

    def _may_call(self, access: Access, call_id: int, method: ScoringMethod, now: float, metadata: Metadata) -> bool:
        """Whether the caller may; who may not has been told."""
        try:
            access.check(method.path, metadata)
        except Refused as refused:
            self._fail(call_id, self._answering.refuse(method, now, refused))
            return False
        return True

    def _without(self, gone: set[int], burst: list[_Job]) -> list[_Job]:
        """The burst without the calls whose callers have gone, which are not to be run wherever they are."""
        for call_id in gone:
            self._aside.discard(call_id)
            if (entry := self._waiting.pop(call_id, None)) is not None:
                self._queue.discard(entry)
                self._refuse((entry.item,), Cancelled(_GONE))
        for job in burst:
            if job.call_id in gone:
                self._refuse((job,), Cancelled(_GONE))
        return [job for job in burst if job.call_id not in gone]

    def _let_wait(self, burst: list[_Job], now: float) -> None:
        """Let calls wait as far as there is room.

        Nothing leaves the queue meanwhile: who finds its class full is refused together with all of its class that come
        later and are no smaller, for refusing has to be cheap when there is most to refuse.
        """
        too_large: dict[Priority, int] = {}
        refused: dict[Priority, tuple[QueueFull, list[_Job]]] = {}
        for job in burst:
            request = job.request
            rows, priority = request.rows, request.priority
            if priority in too_large and rows >= too_large[priority]:
                refused[priority][1].append(job)
                continue
            left_seconds = job.deadline_seconds - now
            refusal = self._queue.refusal(rows, priority, left_seconds, self._mean_run_seconds, runs_under_way=0)
            if refusal is None:
                self._waiting[job.call_id] = self._queue.add(job, rows, job.deadline_seconds, priority)
            elif isinstance(refusal, QueueFull):
                too_large[priority] = rows
                refused.setdefault(priority, (refusal, []))[1].append(job)
            else:
                self._refuse((job,), refusal)
        for full, jobs in refused.values():
            self._refuse(jobs, full)

    def _run(self, jobs: Sequence[_Job]) -> None:
        """Run every model's calls together; mostly there is one."""
        models = {job.model for job in jobs}
        for model in models:
            self._run_model(model, jobs if len(models) == 1 else [job for job in jobs if job.model is model])

    def _run_model(self, model: ServedModel, jobs: Sequence[_Job]) -> None:
        _, _, _, requests, arrivals, _ = zip(*jobs, strict=True)
        began = time.monotonic()
        try:
            answers = model.predict(requests)
        except Exception as error:  # it belongs to one of them: find out whose by running each alone
            if len(jobs) == 1:
                self._refuse(jobs, error)
            else:
                for job in jobs:
                    self._run_model(model, (job,))
            return
        run_seconds = time.monotonic() - began
        self._mean_run_seconds += _SMOOTHING * (run_seconds - self._mean_run_seconds)
        model.metrics.batch(answers, [began - arrived for arrived in arrivals], run_seconds)
        self._answer(model, jobs, answers)

    def _answer(self, model: ServedModel, jobs: Sequence[_Job], answers: Sequence[Answer]) -> None:
        respond = self._front.respond
        answered = []
        with self._handing_over if len(jobs) > 1 else _ALONE:
            for job, answer in zip(jobs, answers, strict=True):
                if isinstance(answer, InvalidRequest):
                    self._refuse((job,), answer)
                    continue
                try:
                    reply = job[1].encode(model, answer)
                except Exception as error:
                    self._refuse((job,), error)
                    continue
                respond(job[0], reply)
                answered.append(job)
        now = time.monotonic()
        methods = {job[1] for job in answered}
        for method in methods:
            self._answering.answered(method, [now - job[4] for job in answered if job[1] is method])

    def _refuse(self, jobs: Sequence[_Job], error: Exception) -> None:
        """Tell calls that came together the same."""
        if isinstance(error, (QueueFull, DeadlineMissed)):
            for model, calls in Counter([job.model for job in jobs]).items():
                model.metrics.unanswered.add(calls)
        for method in {job.method for job in jobs}:
            call_ids = [job.call_id for job in jobs if job.method is method]
            for call_id in call_ids:
                self._waiting.pop(call_id, None)
            status = self._answering.refuse(method, jobs[0].arrived_seconds, error, len(call_ids))
            with self._handing_over if len(call_ids) > 1 else _ALONE:
                fronts.refuse(self._front, call_ids, status)

    def _fail(self, call_id: int, status: Status) -> None:
        fronts.refuse(self._front, (call_id,), status)
