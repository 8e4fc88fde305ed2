"""Calls that come in bursts: a burst is a batch already. One thread takes it in, runs it and answers it.

A call whose shape is known takes part in the next run of this thread. One whose shape is not goes to the calling
threads, which parse it and learn its shape. As long as all that came fits into one run nothing waits and order does not
matter; what does not fit waits in a `queueing.Queue`, and before every further run newcomers are taken in or refused,
so that the more urgent overtake and a refusal never waits for the line.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from inference.calls import Asked, Call, Status
from inference.contract.errors import InvalidRequest
from inference.queueing import Queue
from inference.refusals import Cancelled, DeadlineMissed, Overloaded, QueueFull, Refused, TooLarge
from inference.transport import workers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.batching import Answer
    from inference.calls import Answering, Metadata, ScoringMethod
    from inference.models import ServedModel
    from inference.queueing import Entry
    from inference.security.guard import Access
    from inference.settings import Limits
    from inference.transport.workers import Workers

CALL: Final = 0
"""Kind of an event: a call has come. Any other: its caller has gone."""

OVERLOAD_PUSHBACK_MS: Final = 100
_SMOOTHING: Final = 0.1
_PASSED: Final = "the deadline passed while the request waited for the engine"
_GONE: Final = "the caller cancelled while the request waited for the engine"
_LOG = logging.getLogger(__name__)

# Kind, call, method, message, who sent it; metadata, peer and the seconds until the deadline.
Details = tuple["Metadata", str, float | None]
Event = tuple[int, int, int, bytes | None, object, Details | None]


class Front(Protocol):
    """The sending side of a transport. Any thread may use it; a call is answered once, later answers are lost."""

    def respond(self, call_id: int, payload: bytes) -> bool:
        """Send a reply; whether anybody waits for it."""
        ...

    def fail(
        self, call_id: int, code: int, message: str, trailing_metadata: Sequence[tuple[str, str | bytes]] | None = None
    ) -> bool:
        """Send a status; whether anybody waits for it."""
        ...


class _Job(NamedTuple):
    call_id: int
    method: ScoringMethod
    asked: Asked
    arrived_seconds: float
    deadline_seconds: float


class Bursts:
    """Takes bursts in and answers them, on one thread that calls `take_in` and `run_next`.

    Args:
        front: where replies go.
        methods: by their number in events.
        answering: counts, and answers what is put aside.
        pool: the calling threads.
        limits: of messages and of the queue.
        access: who may call what; none where nobody is asked for a token.
    """

    def __init__(
        self,
        front: Front,
        methods: Sequence[ScoringMethod],
        answering: Answering,
        pool: Workers,
        limits: Limits,
        access: Access | None = None,
    ) -> None:
        self._access = access
        self._front = front
        self._methods = methods
        self._answering = answering
        self._workers = pool
        self._max_message_bytes = limits.max_message_bytes
        self._max_batch_rows = limits.max_batch_rows
        self._max_wait_seconds = limits.max_wait_seconds
        self._queue: Queue[_Job] = Queue(limits.max_queue_rows, limits.max_batch_rows)
        self._waiting: dict[int, Entry[_Job]] = {}
        self._aside: dict[int, float] = {}
        self._mean_run_seconds = 0.0
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
            rows = sum([job.asked.request.rows for job in burst])
            if self._queue.rows or rows > self._max_batch_rows:
                for job in burst:
                    self._let_wait(job, now)
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
                self._refuse(entry.item, DeadlineMissed(_PASSED))
            jobs = [entry.item for entry in self._queue.take()]
            self._run(jobs)
        except Exception as error:
            for job in jobs:
                self._refuse(job, error)
        finally:
            for job in jobs:
                self._waiting.pop(job.call_id, None)
            self.busy = False

    def _sorted_out(self, events: Sequence[Event], now: float) -> list[_Job]:
        """The calls to be run by this thread; the others are on their way when it returns."""
        methods, max_wait_seconds, access = self._methods, self._max_wait_seconds, self._access
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
            asked = method.quick(message)
            left_seconds = details[2]
            if left_seconds is None or left_seconds > max_wait_seconds:
                left_seconds = max_wait_seconds
            if asked is None:
                self._put_aside(call_id, method, message, now, left_seconds, details[0])
            elif left_seconds > 0:
                burst.append(_Job(call_id, method, asked, now, now + left_seconds))
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
            self._aside.pop(call_id, None)
            if (entry := self._waiting.pop(call_id, None)) is not None:
                self._queue.discard(entry)
                self._refuse(entry.item, Cancelled(_GONE))
        for job in burst:
            if job.call_id in gone:
                self._refuse(job, Cancelled(_GONE))
        return [job for job in burst if job.call_id not in gone]

    def _let_wait(self, job: _Job, now: float) -> None:
        request = job.asked.request
        try:
            left_seconds = job.deadline_seconds - now
            self._queue.admit(request.rows, request.priority, left_seconds, self._mean_run_seconds)
        except Refused as refusal:
            self._refuse(job, refusal)
        else:
            self._waiting[job.call_id] = self._queue.add(job, request.rows, job.deadline_seconds, request.priority)

    def _put_aside(
        self, call_id: int, method: ScoringMethod, message: bytes, now: float, left_seconds: float, metadata: Metadata
    ) -> None:
        """Let a calling thread parse and answer it."""
        if len(message) > self._max_message_bytes:
            self._fail(call_id, self._answering.refuse(method, now, TooLarge(len(message), self._max_message_bytes)))
            return
        self._aside[call_id] = now
        call = Call(message, now, now + left_seconds, metadata, lambda: call_id in self._aside)
        self._workers.submit(self._answer_aside, call_id, method, call)

    def _answer_aside(self, call_id: int, method: ScoringMethod, call: Call) -> None:
        try:
            if workers.current().overloaded:
                overloaded = Overloaded(OVERLOAD_PUSHBACK_MS)
                answer: bytes | Status = self._answering.refuse(method, call.arrived_seconds, overloaded)
            else:
                answer = self._answering.score(method, call)
            if isinstance(answer, Status):
                self._fail(call_id, answer)
            else:
                self._front.respond(call_id, answer)
        finally:
            self._aside.pop(call_id, None)

    def _run(self, jobs: list[_Job]) -> None:
        """Run every model's calls together; mostly there is one."""
        if not jobs:
            return
        model = jobs[0].asked.model
        its = [job for job in jobs if job.asked.model is model]
        self._run_model(model, its)
        if len(its) < len(jobs):
            self._run([job for job in jobs if job.asked.model is not model])

    def _run_model(self, model: ServedModel, jobs: list[_Job]) -> None:
        began = time.monotonic()
        try:
            answers = model.predict([job.asked.request for job in jobs])
        except Exception as error:  # it belongs to one of them: find out whose by running each alone
            if len(jobs) == 1:
                self._refuse(jobs[0], error)
            else:
                for job in jobs:
                    self._run_model(model, [job])
            return
        run_seconds = time.monotonic() - began
        self._mean_run_seconds += _SMOOTHING * (run_seconds - self._mean_run_seconds)
        model.metrics.batch(answers, [began - job.arrived_seconds for job in jobs], run_seconds)
        self._answer(model, jobs, answers)

    def _answer(self, model: ServedModel, jobs: list[_Job], answers: Sequence[Answer]) -> None:
        respond = self._front.respond
        answered: dict[ScoringMethod, list[float]] = {}
        for job, answer in zip(jobs, answers, strict=True):
            call_id, method, _, arrived_seconds, _ = job
            if isinstance(answer, InvalidRequest):
                self._refuse(job, answer)
                continue
            try:
                reply = method.encode(model, answer)
            except Exception as error:
                self._refuse(job, error)
                continue
            respond(call_id, reply)
            arrivals = answered.get(method)
            if arrivals is None:
                arrivals = answered[method] = []
            arrivals.append(arrived_seconds)
        now = time.monotonic()
        for method, arrivals in answered.items():
            self._answering.answered(method, [now - arrived for arrived in arrivals])

    def _refuse(self, job: _Job, error: Exception) -> None:
        if isinstance(error, (QueueFull, DeadlineMissed)):
            job.asked.model.metrics.unanswered.add()
        self._waiting.pop(job.call_id, None)
        self._fail(job.call_id, self._answering.refuse(job.method, job.arrived_seconds, error))

    def _fail(self, call_id: int, status: Status) -> None:
        code: int = status.code.value[0]
        # The front keeps these names to itself and refuses them.
        trailing = [(key, value) for key, value in status.trailing if not key.startswith("grpc-")]
        self._front.fail(call_id, code, status.details, trailing)
