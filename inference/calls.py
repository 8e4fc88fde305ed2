"""What a transport hands over, and what the methods behind it make of it: bytes in, bytes or a status out."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

import grpc

from inference.contract.errors import InvalidRequest
from inference.refusals import (
    Cancelled,
    Closed,
    DeadlineMissed,
    NotPossible,
    Overloaded,
    PermissionDenied,
    QueueFull,
    Refused,
    TooLarge,
    Unauthenticated,
    UnknownModel,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.core import Request, Response
    from inference.metrics import CallMetrics
    from inference.models import ServedModel

    Metadata = Sequence[tuple[str, str | bytes]]

_MAX_DETAILS_BYTES: Final = 4_096
"""A status travels in HTTP/2 headers, for which clients set aside 8 KiB by default, all of them together."""

PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Trailing metadata that tells a client's retry policy how long to wait (gRFC A6)."""
PLAIN_PUSHBACK_KEY: Final = "playfuse-retry-pushback-ms"
"""The same for the caller's own code: a transport may keep names with `grpc-` to itself, as the native one does."""

_LOG = logging.getLogger(__name__)
_CODES: Final = {
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineMissed: grpc.StatusCode.DEADLINE_EXCEEDED,
    Cancelled: grpc.StatusCode.CANCELLED,
    Closed: grpc.StatusCode.UNAVAILABLE,
    UnknownModel: grpc.StatusCode.NOT_FOUND,
    NotPossible: grpc.StatusCode.FAILED_PRECONDITION,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Call(NamedTuple):
    """One call as it came in. Times are `time.monotonic` seconds.

    Attributes:
        message: the request, as the wire has it.
        arrived_seconds: when the transport handed it over.
        deadline_seconds: when the caller stops waiting; infinite where it set none.
        metadata: the caller's, keys in lower case.
        is_wanted: whether the caller is still there; none where the transport tells otherwise.
    """

    message: bytes
    arrived_seconds: float
    deadline_seconds: float
    metadata: Metadata = ()
    is_wanted: Callable[[], bool] | None = None


class Asked(NamedTuple):
    """What a call came to.

    Attributes:
        model: to score the players.
        request: the players.
        timeout_seconds: the longest that the caller waits from its arrival on, where the message itself says so.
    """

    model: ServedModel
    request: Request
    timeout_seconds: float = math.inf


new_asked: Final = cast("Callable[[tuple[ServedModel, Request, float]], Asked]", partial(tuple.__new__, Asked))
"""See `core.new_request`."""


class Status(NamedTuple):
    """Why there is no answer.

    Attributes:
        code: gRPC status.
        details: for the caller to read.
        trailing: metadata that goes with it.
    """

    code: grpc.StatusCode
    details: str
    trailing: tuple[tuple[str, str], ...] = ()


class Method(Protocol):
    """A unary method that is answered without a model's run."""

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        ...

    def answer(self, call: Call) -> bytes:
        """The reply.

        Raises:
            InvalidRequest, Refused: there is none.
        """
        ...


class ScoringMethod(Protocol):
    """A unary method that asks a model about players: whoever carries its calls may gather many of them into a run."""

    @property
    def path(self) -> str:
        """`/package.Service/Method`."""
        ...

    @property
    def quick(self) -> Callable[[bytes], Asked | None]:
        """What `decode` would give, where that takes a microsecond: the shape of the message is known.

        To be asked for anew for every burst: it knows the models that are served now.
        """
        ...

    def decode(self, message: bytes) -> Asked:
        """What is asked.

        Raises:
            InvalidRequest, Refused: it cannot be answered.
        """
        ...

    def encode(self, model: ServedModel, response: Response) -> bytes:
        """The reply."""
        ...


def code_of(refused: Refused) -> grpc.StatusCode:
    """The gRPC status of a refusal."""
    return _CODES[type(refused)]


def name_of(method: Method | ScoringMethod) -> str:
    """The method's name without its service, as metrics have it."""
    return method.path.rpartition("/")[2]


class Answering:
    """Answers one call from start to end on the calling thread, and counts how it ended. Never raises.

    Args:
        metrics: to count in.
        max_wait_seconds: deadline of a call whose caller set none, and the cap of those who did.
    """

    def __init__(self, metrics: CallMetrics, max_wait_seconds: float) -> None:
        self._metrics = metrics
        self._max_wait_seconds = max_wait_seconds

    def answer(self, method: Method, call: Call) -> bytes | Status:
        """A reply, or why there is none."""
        return self._counted(method, call, lambda: method.answer(call))

    def score(self, method: ScoringMethod, call: Call) -> bytes | Status:
        """The same of players, in one run with others that come meanwhile."""

        def reply() -> bytes:
            model, request, timeout_seconds = method.decode(call.message)
            max_wait = time.monotonic() + self._max_wait_seconds
            try:
                response = model.batcher.submit(
                    request,
                    arrived_seconds=call.arrived_seconds,
                    deadline_seconds=min(call.deadline_seconds, max_wait, call.arrived_seconds + timeout_seconds),
                    is_wanted=call.is_wanted,
                )
            except (QueueFull, DeadlineMissed):
                model.metrics.unanswered.add()
                raise
            return method.encode(model, response)

        return self._counted(method, call, reply)

    def refuse(
        self, method: Method | ScoringMethod, arrived_seconds: float, error: Exception, calls: int = 1
    ) -> Status:
        """A call that is not to be looked at, or several that came together."""
        status = self._status(error, calls)
        seconds = time.monotonic() - arrived_seconds
        self._metrics.request_seconds[name_of(method), status.code.name].observe(*[seconds] * calls)
        return status

    def ended(self, method: Method | ScoringMethod, code: grpc.StatusCode, seconds: float) -> None:
        """Count a call that took so long from its arrival to its reply."""
        self._metrics.request_seconds[name_of(method), code.name].observe(seconds)

    def answered(self, method: ScoringMethod, seconds: Sequence[float]) -> None:
        """Count calls that were answered together, each by the time from its arrival to its reply."""
        self._metrics.request_seconds[name_of(method), grpc.StatusCode.OK.name].observe(*seconds)

    def _counted(self, method: Method | ScoringMethod, call: Call, reply: Callable[[], bytes]) -> bytes | Status:
        try:
            answer = reply()
        except Exception as error:  # of whatever kind: the caller is told something, and nobody else hears of it
            return self.refuse(method, call.arrived_seconds, error)
        self.ended(method, grpc.StatusCode.OK, time.monotonic() - call.arrived_seconds)
        return answer

    def _status(self, error: Exception, calls: int) -> Status:
        if isinstance(error, InvalidRequest):
            self._metrics.rejected["invalid"].add(calls)
            return Status(grpc.StatusCode.INVALID_ARGUMENT, fitting(str(error)))
        if isinstance(error, Refused):
            self._metrics.rejected[error.reason].add(calls)
            trailing: tuple[tuple[str, str], ...] = ()
            if isinstance(error, QueueFull):
                trailing = tuple((key, str(error.retry_after_ms)) for key in (PUSHBACK_KEY, PLAIN_PUSHBACK_KEY))
            return Status(code_of(error), fitting(str(error)), trailing)
        # A fault of ours: the log has it, the caller gets no insight into the server.
        _LOG.error("a call failed", exc_info=error)
        return Status(grpc.StatusCode.INTERNAL, "internal error; the server's log tells more")


def fitting(details: str) -> str:
    """Details that fit into a status, whatever a caller calls things: gRPC sends every byte outside ASCII as three."""
    room = _MAX_DETAILS_BYTES
    for position, letter in enumerate(details[: _MAX_DETAILS_BYTES + 1]):
        room -= 1 if " " <= letter <= "~" and letter != "%" else 3 * len(letter.encode())
        if room < 0:
            return details[:position] + "..."
    return details
