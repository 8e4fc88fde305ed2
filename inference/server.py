"""The serving process: puts the parts together, listens, and drains without losing an accepted call."""

from __future__ import annotations

import gc
import logging
import resource
import select
import signal
import socket
import time
from typing import TYPE_CHECKING, Final

from inference import exposition
from inference.calls import Answering, name_of
from inference.energy import meter as meters
from inference.metrics import CallMetrics
from inference.models import OneModel, ServedModel
from inference.services.player_behavior import SERVICE, DescribeModel, Predict
from inference.services.standard import StandardServices
from inference.transport import choice
from inference.transport.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inference.calls import Method, ScoringMethod
    from inference.contract.artifact import Manifest
    from inference.energy.meter import Meter
    from inference.settings import ServerSettings

_LOG = logging.getLogger(__name__)
_METER_PERIOD_SECONDS: Final = 60.0
"""An energy counter must be read before it comes round, scraped or not."""


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
        self._settings = settings
        limits = settings.limits
        self._workers = Workers(settings.threads, limits.max_waiting_requests)
        model = ServedModel.load(artifact, limits, others_are_coming=lambda: self._workers.running > 1)
        self._models = OneModel(model)
        self.manifest: Manifest = model.manifest
        self.meter: Meter = meters.choose(watts_per_core=settings.watts_per_core)
        methods: tuple[Method, ...] = (DescribeModel(self._models, limits),)
        scoring: tuple[ScoringMethod, ...] = (Predict(self._models),)
        metrics = CallMetrics([*map(name_of, methods), *map(name_of, scoring)])
        answering = Answering(metrics, limits.max_wait_seconds)
        name = choice.choose(settings.transport)
        self._transport = choice.build(name, methods, scoring, answering, self._workers, settings)
        self._standard = StandardServices(SERVICE)
        self._standard.add_to(self._transport.server)
        self.port = self._transport.bind(_join(settings.host, settings.port))
        try:
            self._http = exposition.listen(
                exposition.Exposition(
                    metrics,
                    self._models,
                    self.meter,
                    calls_in_flight=lambda: self._transport.calls_in_flight,
                    waiting_rows=lambda: self._transport.waiting_rows,
                ),
                settings.metrics_host,
                settings.metrics_port,
            )
        except BaseException:
            self._transport.close()
            raise

    @property
    def address(self) -> str:
        """Where gRPC listens, as a client's target."""
        return _join(self._settings.host, self.port)

    @property
    def transport(self) -> str:
        """Which transport carries the calls."""
        return self._transport.name

    @property
    def metrics_url(self) -> str:
        """Where the metrics are."""
        host = _join(self._settings.metrics_host, self._http.server_port)
        return f"http://{host}{exposition.METRICS_PATH}"

    def start(self) -> None:
        """Take calls."""
        self._transport.start()
        self._standard.serving()
        # What lives now lives as long as the server: never look through it for garbage again.
        gc.collect()
        gc.freeze()

    def drain(self) -> bool:
        """Stop taking calls, answer all that were taken, close everything; whether all were answered in time.

        NOT_SERVING for balancers first, still serving while they notice; then as the transport does it.
        """
        self._standard.shutting_down()
        time.sleep(self._settings.drain_seconds)
        answered = self._transport.drain(self._settings.grace_seconds)
        for model in self._models.served():
            model.batcher.close(0.0)
        self._workers.shutdown(wait=answered)
        self._standard.close()
        self._http.shutdown()
        self._http.server_close()
        return answered


def serve(artifact: Path, settings: ServerSettings, *, on_ready: Callable[[Server], None]) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; for the main thread of a process.

    Returns:
        Whether every accepted call was answered.
    """
    stop = _stop_signal()
    if settings.max_memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (settings.max_memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))
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


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
