"""The fast transport: pygrpc-native's low-level front for the methods that ask models, grpcio for all else.

The front carries HTTP/2 and gRPC outside Python and hands calls over in bursts (`bursts`). Health, reflection and
every other method go on to the complete grpcio transport behind it, on a Unix socket.

For trusted networks: the front speaks no TLS, reads a message as a whole before its size can be looked at (bound the
process with `max_memory_bytes`), and never ends a connection for its age.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

from pygrpc_native import NativeGrpcFront

from inference.transport.bursts import MAX_EVENTS, Bursts
from inference.transport.grpcio import GrpcioTransport, cannot_listen, until
from inference.transport.handover import handover
from inference.transport.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import grpc

    from inference.calls import Answering, Method, ScoringMethod
    from inference.security.guard import Access
    from inference.settings import ServerSettings

_LOG = logging.getLogger(__name__)

_MAX_FAULTS: Final = 16
_MAX_CALLS_BEHIND: Final = 100_000
_IO_THREADS: Final = 1
"""One beside the thread that runs: on one core two are slower."""
_IO_THREAD_NAME: Final = "grpc-native-io"
_QUIET_SECONDS: Final = 0.05
_MAX_HOLD_SECONDS: Final = 0.5
_FLUSH_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.005


class NativeTransport:
    """Carries scoring methods itself and everything else by a grpcio transport behind it.

    Args:
        methods: answered on a calling thread, one by one.
        scoring: answered in bursts.
        answering: answers and counts them.
        pool: the calling threads of `methods`.
        settings: limits.
        interceptors: what every call that grpcio carries goes through first.
        access: who may make scoring calls.
    """

    name = "native"

    def __init__(
        self,
        methods: Iterable[Method],
        scoring: Iterable[ScoringMethod],
        answering: Answering,
        pool: Workers,
        settings: ServerSettings,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        access: Access | None = None,
    ) -> None:
        self._access = access
        self._reuse_port = settings.reuse_port
        self._scoring = tuple(scoring)
        self._answering = answering
        self._workers = pool
        self._limits = settings.limits
        # Apart from the others: the calls behind may keep their threads waiting for a message, these have theirs.
        self._aside = Workers(settings.threads, settings.limits.max_waiting_requests, name="aside")
        self._behind = GrpcioTransport(
            methods, self._scoring, answering, pool, _for_one_connection(settings), interceptors
        )
        self._thread = threading.Thread(target=self._serve, name="native", daemon=True)
        self._front: NativeGrpcFront
        self._bursts: Bursts

    @property
    def server(self) -> grpc.Server:
        """Takes further methods before the start."""
        return self._behind.server

    @property
    def waiting_rows(self) -> int:
        """Players that wait here, not in a model's batcher."""
        return self._bursts.waiting_rows

    @property
    def calls_in_flight(self) -> int:
        """Calls that are being handled now; those of a burst being run count as one."""
        return self._workers.running + self._aside.running + self._bursts.busy

    def bind(self, address: str) -> int:
        """Listen on `host:port`; the port.

        Raises:
            PlayfuseError: that cannot be listened on.
        """
        try:
            # Its metrics count what has left: that is how draining knows that replies are out.
            self._front = NativeGrpcFront(
                address,
                [(method.path, False) for method in self._scoring],
                io_threads=_IO_THREADS,
                call_details=True,
                metrics=True,
                max_concurrent_streams=self._limits.max_calls_per_connection,
                max_metadata_size=self._limits.max_metadata_bytes,
                reuse_port=self._reuse_port,
            )
        except OSError as error:
            raise cannot_listen(address) from error
        self._bursts = Bursts(
            self._front,
            self._scoring,
            self._answering,
            self._aside,
            self._limits,
            self._access,
            handover(_IO_THREAD_NAME),
        )
        # An abstract socket (unix(7)) goes with the process, however it ends. Who reaches it could reach the port.
        name = f"playfuse-{secrets.token_hex(16)}"
        self._behind.bind(f"unix-abstract:{name}")
        self._front.set_fallback(f"\0{name}")
        return self._front.bound_port

    def start(self) -> None:
        """Take calls."""
        self._behind.start()
        self._front.start()
        self._thread.start()

    def drain(self, grace_seconds: float) -> bool:
        """Stop taking calls, answer all that were taken, close; whether all were answered in time.

        As grpcio's transport does it: newcomers are held until the accepted calls are answered and the line falls
        quiet, then closing tells them UNAVAILABLE, and they go elsewhere on a new connection. The front throws away
        what it has not sent when it closes, so it is asked first whether all replies have left.
        """
        began = time.monotonic()
        self._bursts.hold_new()
        answered = until(lambda: not self._bursts.unanswered, grace_seconds)
        answered &= self._behind.drain(max(0.0, began + grace_seconds - time.monotonic()))
        self._wait_until_quiet()
        answered &= until(lambda: self._unsent() <= self._bursts.held, _FLUSH_SECONDS)
        self.close()
        return answered

    def close(self) -> None:
        """End at once: calls without an answer are told UNAVAILABLE."""
        self._front.close()
        if self._thread.is_alive():
            self._thread.join()
        self._aside.shutdown(wait=False)

    def _serve(self) -> None:
        """Until the front is closed. Whatever goes wrong costs the calls that it went wrong with.

        Where it goes wrong time and again the process is asked to end: a port that takes calls and never answers would
        look healthy to everybody.
        """
        for _ in range(_MAX_FAULTS):
            try:
                self._serve_bursts()
            except BaseException:  # a lack of memory, or a panic of the front's, which is no Exception
                _LOG.critical("calls that had just come have no answer", exc_info=True)
            else:
                return
        _LOG.critical("the native transport has failed %d times: the process ends", _MAX_FAULTS)
        os.kill(os.getpid(), signal.SIGTERM)

    def _serve_bursts(self) -> None:
        front, bursts = self._front, self._bursts
        while True:
            if bursts.waiting_rows:
                events = front.recv_batch_details(bursts.max_newcomers, 0)
            else:
                events = front.recv_batch_details(MAX_EVENTS)
            if events is None:
                return
            if events:
                bursts.take_in(events)
            bursts.run_next()

    def _unsent(self) -> int:
        """Calls that have come and whose reply has not left."""
        counted = (self._front.metrics() or {}).get("methods", {})
        return sum(
            method["started"] - sum(ended["count"] for ended in method["status"].values())
            for path, method in counted.items()
            if any(path == scorer.path for scorer in self._scoring)
        )

    def _wait_until_quiet(self) -> None:
        """Until no call has come for a moment, as far as the callers let it."""
        began = quiet_since = time.monotonic()
        held = self._bursts.held
        while (now := time.monotonic()) < began + _MAX_HOLD_SECONDS and now < quiet_since + _QUIET_SECONDS:
            time.sleep(_POLL_SECONDS)
            if self._bursts.held != held:
                quiet_since, held = time.monotonic(), self._bursts.held


def _for_one_connection(settings: ServerSettings) -> ServerSettings:
    """For a transport whose only caller is the front, on behalf of everybody."""
    limits = settings.limits.model_copy(update={"max_calls_per_connection": _MAX_CALLS_BEHIND})
    return settings.model_copy(update={"limits": limits})
