"""Calls that a burst does not wait for: threads of a pool parse and answer them, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inference.calls import Call, Status
from inference.refusals import Overloaded
from inference.transport import front as fronts
from inference.transport import workers

if TYPE_CHECKING:
    from inference.calls import Answering, Metadata, ScoringMethod
    from inference.transport.front import Front
    from inference.transport.workers import Workers

OVERLOAD_PUSHBACK_MS: Final = 100


class Aside:
    """Has calls answered by a pool.

    Args:
        front: where replies go.
        answering: answers and counts.
        pool: the calling threads.
    """

    def __init__(self, front: Front, answering: Answering, pool: Workers) -> None:
        self._front = front
        self._answering = answering
        self._workers = pool
        self._calls: set[int] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def __contains__(self, call_id: int) -> bool:
        return call_id in self._calls

    def put(
        self,
        call_id: int,
        method: ScoringMethod,
        message: bytes,
        arrived_seconds: float,
        deadline_seconds: float,
        metadata: Metadata,
    ) -> None:
        """Have a call answered."""
        self._calls.add(call_id)
        call = Call(message, arrived_seconds, deadline_seconds, metadata, lambda: call_id in self._calls)
        self._workers.submit(self._answer, call_id, method, call)

    def discard(self, call_id: int) -> None:
        """Its caller has gone: it need not be run."""
        self._calls.discard(call_id)

    def _answer(self, call_id: int, method: ScoringMethod, call: Call) -> None:
        try:
            if workers.current().overloaded:
                overloaded = Overloaded(OVERLOAD_PUSHBACK_MS)
                answer: bytes | Status = self._answering.refuse(method, call.arrived_seconds, overloaded)
            else:
                answer = self._answering.score(method, call)
            if isinstance(answer, Status):
                fronts.refuse(self._front, (call_id,), answer)
            else:
                self._front.respond(call_id, answer)
        finally:
            self._calls.discard(call_id)
