"""The complete transport: grpcio's synchronous server, one thread per call that is being handled."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any, Final, cast

import grpc

from inference.calls import Answering, Call, Method, ScoringMethod, Status
from inference.contract.errors import PlayfuseError
from inference.refusals import Closed, Overloaded
from inference.security.tls import Certificates
from inference.transport import workers
from inference.transport.aside import OVERLOAD_PUSHBACK_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from inference.settings import ServerSettings
    from inference.transport.workers import Workers

    Handlers = dict[str, grpc.RpcMethodHandler[bytes, bytes]]

_MAX_REFUSALS_UNDER_WAY: Final = 4_096
"""In a flood beyond this gRPC turns calls away unread: that bounds the memory, yet callers may see CANCELLED."""
_QUIET_SECONDS: Final = 0.05
_MAX_HOLD_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.005
_LAST_REPLIES_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 5.0

_LOG = logging.getLogger(__name__)


class GrpcioTransport:
    """Carries unary methods, and whatever else is added to `server` before the start.

    Args:
        methods: answered on a calling thread, one by one.
        scoring: the same, but in runs together.
        answering: answers them.
        pool: the threads.
        settings: limits, TLS.
        interceptors: what every call goes through first.

    Raises:
        PlayfuseError: a file of TLS cannot be used.
    """

    name = "grpcio"
    waiting_rows = 0

    def __init__(
        self,
        methods: Iterable[Method],
        scoring: Iterable[ScoringMethod],
        answering: Answering,
        pool: Workers,
        settings: ServerSettings,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
    ) -> None:
        limits = settings.limits
        self._answering = answering
        self._workers = pool
        self._max_wait_seconds = limits.max_wait_seconds
        self._hold_from_seconds = math.inf
        self._refuse = threading.Event()
        self._certificates = Certificates(settings.tls) if settings.tls.is_on else None
        self.server = grpc.server(
            cast("ThreadPoolExecutor", pool),  # grpcio asks no more of it than any executor can do
            interceptors=list(interceptors),
            options=options(settings),
            maximum_concurrent_rpcs=settings.threads + limits.max_waiting_requests + _MAX_REFUSALS_UNDER_WAY,
        )
        handlers: dict[str, Handlers] = {}
        for method in methods:
            _add(handlers, method.path, self._handler(method, answering.answer))
        for scorer in scoring:
            _add(handlers, scorer.path, self._handler(scorer, answering.score))
        for service, its in handlers.items():
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, its),))
            self.server.add_registered_method_handlers(service, its)

    @property
    def calls_in_flight(self) -> int:
        """Calls that threads are handling now."""
        return self._workers.running

    def bind(self, address: str) -> int:
        """Listen on `host:port`, or a Unix socket; the port.

        Raises:
            PlayfuseError: that cannot be listened on.
        """
        try:
            if self._certificates is not None and not address.startswith("unix"):
                return self.server.add_secure_port(address, self._certificates.credentials())
            return self.server.add_insecure_port(address)
        except RuntimeError as error:
            raise cannot_listen(address) from error

    def start(self) -> None:
        """Take calls."""
        self.server.start()

    def drain(self, grace_seconds: float) -> bool:
        """Stop taking calls, answer all that were taken, close; whether all were answered in time.

        New calls are held while the accepted ones finish: callers that wait send nothing more, so the line falls quiet.
        Only then the transport says that it closes (it would cancel calls that it has read and not yet handed over, a
        status that clients do not retry), and the held calls are told UNAVAILABLE, which they do retry, on a new
        connection elsewhere.
        """
        held_from = self.hold_new()
        answered = until(lambda: not self._workers.has_unfinished(before_seconds=held_from), grace_seconds)
        self._wait_until_quiet()
        stopped = self.server.stop(_LAST_REPLIES_SECONDS)
        self.refuse_held()
        if not stopped.wait(_LAST_REPLIES_SECONDS + _STOP_SECONDS):
            _LOG.error("gRPC did not stop in time: a stream of one of its own services hangs")
        return answered

    def close(self) -> None:
        """End at once."""
        self.server.stop(None).wait()

    def hold_new(self) -> float:
        """From now on: calls that come are held, those that came before are still answered. The moment of now."""
        self._hold_from_seconds = time.monotonic()
        return self._hold_from_seconds

    def refuse_held(self) -> None:
        """Tell the held calls, and all that still come, that the server is UNAVAILABLE."""
        self._refuse.set()

    def _handler(
        self, method: Any, answer: Callable[[Any, Call], bytes | Status]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
            arrival = workers.current()
            if arrival.overloaded:
                error = Overloaded(OVERLOAD_PUSHBACK_MS)
                return _tell(context, self._answering.refuse(method, arrival.arrived_seconds, error))
            if arrival.arrived_seconds >= self._hold_from_seconds:
                self._refuse.wait(self._max_wait_seconds)
                closed = Closed("the server is shutting down")
                return _tell(context, self._answering.refuse(method, arrival.arrived_seconds, closed))
            left_seconds = context.time_remaining()
            deadline = math.inf if left_seconds is None else time.monotonic() + left_seconds
            call = Call(message, arrival.arrived_seconds, deadline, context.invocation_metadata(), context.is_active)
            return _tell(context, answer(method, call))

        return grpc.unary_unary_rpc_method_handler(handle)

    def _wait_until_quiet(self) -> None:
        """Until no call has come for a moment, as far as the callers let it."""
        began = quiet_since = time.monotonic()
        held = self._workers.unfinished
        while (now := time.monotonic()) < began + _MAX_HOLD_SECONDS and now < quiet_since + _QUIET_SECONDS:
            time.sleep(_POLL_SECONDS)
            if (calls := self._workers.unfinished) != held:
                quiet_since, held = time.monotonic(), calls


def _tell(context: grpc.ServicerContext, answer: bytes | Status) -> bytes:
    if isinstance(answer, Status):
        if answer.trailing:
            context.set_trailing_metadata(answer.trailing)
        context.abort(answer.code, answer.details)
    return answer


def _add(handlers: dict[str, Handlers], path: str, handler: grpc.RpcMethodHandler[bytes, bytes]) -> None:
    _, service, name = path.split("/")
    handlers.setdefault(service, {})[name] = handler


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def cannot_listen(address: str, option: str = "--port") -> PlayfuseError:
    """What is wrong with an address that cannot be bound, and the option that names another."""
    return PlayfuseError(
        f"address {address}",
        got="an address that cannot be listened on",
        expected="a free port on an address of this machine",
        fix=f"Another server may run there: stop it, or name another port with {option}; 0 takes any free one.",
    )


def options(settings: ServerSettings) -> list[tuple[str, int | str]]:
    """How gRPC is set up; the benchmarks give the bare transport the same."""
    age = settings.max_connection_age_seconds
    aging = (
        [
            ("grpc.max_connection_age_ms", round(1_000 * age)),
            ("grpc.max_connection_age_grace_ms", round(1_000 * settings.max_connection_age_grace_seconds)),
        ]
        if age is not None
        else []
    )
    return [
        # Two servers on one port would share its connections unnoticed: unless that is meant, it must be an error.
        ("grpc.so_reuseport", int(settings.reuse_port)),
        *aging,
        ("grpc.max_receive_message_length", settings.limits.max_message_bytes),
        ("grpc.max_concurrent_streams", settings.limits.max_calls_per_connection),
        # It counts streams that have ended and are not cleared away yet as well: callers that keep to the limit would
        # be told UNAVAILABLE by the thousand.
        ("grpc.http.overload_protection", 0),
        # The second is where refusal is certain; between the two it would be by chance.
        ("grpc.max_metadata_size", settings.limits.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", settings.limits.max_metadata_bytes),
        ("grpc.optimization_target", "throughput"),
        # Calls that wait to be read. From 1,000 on gRPC would by default cancel some by chance, which callers do not
        # retry; once read, they are told RESOURCE_EXHAUSTED and when to come back.
        ("grpc.server.max_pending_requests", _MAX_REFUSALS_UNDER_WAY),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _MAX_REFUSALS_UNDER_WAY),
        # Lets clients keep idle connections alive through firewalls (ours ping every 30 s).
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
