"""The serving process: puts the parts together, listens, and drains without losing an accepted call."""

from __future__ import annotations

import gc
import logging
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Final, cast

import grpc

from inference import engine as engines
from inference import exposition
from inference.batching import Batcher
from inference.contract.errors import PlayfuseError
from inference.core import Core
from inference.energy import meter as meters
from inference.metrics import Metrics
from inference.services.player_behavior import SERVICE, PlayerBehaviorService
from inference.services.standard import StandardServices
from inference.transport.codec import Codec
from inference.transport.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from inference.contract.artifact import Manifest
    from inference.energy.meter import Meter
    from inference.settings import ServerSettings

_LOG = logging.getLogger(__name__)
_METER_PERIOD_SECONDS: Final = 60.0
"""An energy counter must be read before it comes round, scraped or not."""
_MAX_REFUSALS_UNDER_WAY: Final = 4_096
"""In a flood beyond this gRPC turns calls away unread: that bounds the memory, yet callers may see CANCELLED."""
_QUIET_SECONDS: Final = 0.05
_MAX_HOLD_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.005
_LAST_REPLIES_SECONDS: Final = 1.0


class Server:
    """One model behind gRPC and `/metrics`.

    Args:
        artifact: folder of the model.
        settings: addresses and limits.

    Raises:
        ArtifactError: the artifact must not be served.
        PlayfuseError: an address cannot be listened on.
    """

    def __init__(self, artifact: Path, settings: ServerSettings) -> None:
        loaded, engine = engines.load(artifact)
        limits = settings.limits
        self.manifest: Manifest = loaded.manifest
        self.meter: Meter = meters.choose(watts_per_core=settings.watts_per_core)
        self._settings = settings
        self._metrics = Metrics(len(self.manifest.behaviours))
        self._workers = Workers(settings.threads, limits.max_waiting_requests)
        self._batcher = Batcher(
            Core(engine, self.manifest).predict,
            max_batch_rows=limits.max_batch_rows,
            max_queue_rows=limits.max_queue_rows,
            observer=self._metrics,
            others_are_coming=lambda: self._workers.running > 1,
        )
        self._service = PlayerBehaviorService(
            Codec(self.manifest, limits), self._batcher, self._metrics, manifest=self.manifest, limits=limits
        )
        self._standard = StandardServices(SERVICE)
        self._grpc = grpc.server(
            cast("ThreadPoolExecutor", self._workers),  # grpcio asks no more of it than any executor can do
            options=transport_options(settings),
            maximum_concurrent_rpcs=settings.threads + limits.max_waiting_requests + _MAX_REFUSALS_UNDER_WAY,
        )
        self._service.add_to(self._grpc)
        self._standard.add_to(self._grpc)
        self.port = _bind(self._grpc, settings.host, settings.port)
        self._http = exposition.listen(
            exposition.Exposition(
                self._metrics,
                self.manifest,
                self.meter,
                calls_in_flight=lambda: self._workers.running,
                queue_rows=lambda: self._batcher.waiting_rows,
            ),
            settings.metrics_host,
            settings.metrics_port,
        )

    @property
    def address(self) -> str:
        """Where gRPC listens, as a client's target."""
        return _join(self._settings.host, self.port)

    @property
    def metrics_url(self) -> str:
        """Where the metrics are."""
        host = _join(self._settings.metrics_host, self._http.server_port)
        return f"http://{host}{exposition.METRICS_PATH}"

    def start(self) -> None:
        """Take calls."""
        self._grpc.start()
        self._standard.serving()
        # What lives now lives as long as the server: never look through it for garbage again.
        gc.collect()
        gc.freeze()

    def drain(self) -> bool:
        """Stop taking calls, answer all that were taken, close everything; whether all were answered in time.

        NOT_SERVING for balancers first, still serving while they notice. Then new calls are held while the accepted
        ones finish: callers that wait send nothing more, so the line falls quiet. Only then the transport says that it
        closes (it would cancel calls that it has read and not yet handed over, a status that clients do not retry), and
        the held calls are told UNAVAILABLE, which they do retry, on a new connection elsewhere.
        """
        self._standard.shutting_down()
        time.sleep(self._settings.drain_seconds)
        held_from = self._service.hold_new()
        answered = _until(
            lambda: not self._workers.has_unfinished(before_seconds=held_from), self._settings.grace_seconds
        )
        self._wait_until_quiet()
        stopped = self._grpc.stop(_LAST_REPLIES_SECONDS)
        self._service.refuse_held()
        stopped.wait()
        self._batcher.close(0.0)
        self._workers.shutdown(wait=answered)
        self._standard.close()
        self._http.shutdown()
        self._http.server_close()
        return answered

    def _wait_until_quiet(self) -> None:
        """Until no call has come for a moment, as far as the callers let it."""
        began = quiet_since = time.monotonic()
        held = self._workers.unfinished
        while (now := time.monotonic()) < began + _MAX_HOLD_SECONDS and now < quiet_since + _QUIET_SECONDS:
            time.sleep(_POLL_SECONDS)
            if (calls := self._workers.unfinished) != held:
                quiet_since, held = time.monotonic(), calls


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def serve(artifact: Path, settings: ServerSettings, *, on_ready: Callable[[Server], None]) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; for the main thread of a process.

    Returns:
        Whether every accepted call was answered.
    """
    stop = _stop_signal()
    server = Server(artifact, settings)
    server.start()
    on_ready(server)
    while not select.select([stop], [], [], _METER_PERIOD_SECONDS)[0]:
        server.meter.read()
    _LOG.info("draining: at most %g s", settings.drain_seconds + settings.grace_seconds)
    answered = server.drain()
    if not answered:
        _LOG.error("calls were still unanswered after %g s; they are lost", settings.grace_seconds)
    return answered


def _stop_signal() -> socket.socket:
    """A socket that turns readable on SIGTERM and SIGINT.

    The kernel may hand a signal to any thread, of gRPC's or NumPy's own too: it would not wake a main thread that waits
    for a lock or an event, and Python's handlers run in that thread only. What does wake it is a byte on a socket.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    return reader


def transport_options(settings: ServerSettings) -> list[tuple[str, int | str]]:
    """How gRPC is set up; the benchmarks give the bare transport the same."""
    return [
        # Two servers on one port would share its connections unnoticed; a taken port must be an error.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.limits.max_message_bytes),
        ("grpc.optimization_target", "throughput"),
        # Calls that wait to be read. From 1,000 on gRPC would by default cancel some by chance, which callers do not
        # retry; once read, they are told RESOURCE_EXHAUSTED and when to come back.
        ("grpc.server.max_pending_requests", _MAX_REFUSALS_UNDER_WAY),
        ("grpc.server.max_pending_requests_hard_limit", 2 * _MAX_REFUSALS_UNDER_WAY),
        # Lets clients keep idle connections alive through firewalls (ours ping every 30 s).
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    ]


def _bind(server: grpc.Server, host: str, port: int) -> int:
    try:
        return server.add_insecure_port(_join(host, port))
    except RuntimeError as error:
        raise PlayfuseError(
            f"address {_join(host, port)}",
            got="an address that cannot be listened on",
            expected="a free port on an address of this machine",
            fix="Another server may run there: stop it, or name another port with --port; 0 takes any free one.",
        ) from error


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
