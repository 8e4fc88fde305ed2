"""The serving process: puts the parts together, listens, and drains without losing an accepted call."""

from __future__ import annotations

import gc
import logging
import resource
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from inference import exposition, polling, signals
from inference.admin import AdminServer
from inference.calls import Answering, name_of
from inference.contract.errors import PlayfuseError
from inference.energy import meter as meters
from inference.energy.lasting import LastingMeter
from inference.metrics import CallMetrics
from inference.models import OneModel, ServedModel
from inference.repository.families import families
from inference.repository.follower import Follower
from inference.repository.repository import Repository
from inference.security import exposure, tokens
from inference.security.guard import ALL_METHODS, Access, Guard
from inference.services import model_infer, open_inference, player_behavior
from inference.services.model_infer import ModelInfer
from inference.services.player_behavior import DescribeModel, Predict
from inference.services.standard import StandardServices
from inference.transport import choice
from inference.transport.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from prometheus_client.core import Metric

    from inference.calls import Method, ScoringMethod
    from inference.contract.artifact import Manifest
    from inference.energy.meter import Meter
    from inference.models import Models
    from inference.repository.membership import Membership
    from inference.settings import ServerSettings

_LOG = logging.getLogger(__name__)
_METER_PERIOD_SECONDS: Final = 60.0
"""An energy counter must be read before it comes round, scraped or not."""


class Server:
    """One model, or the models of a folder, behind gRPC and `/metrics`.

    Args:
        artifact: folder of the one model; none where the settings name a folder of models.
        settings: addresses and limits.
        member: what it is among several servers of the same models; none where it is alone.

    Attributes:
        follower: follows the owner of the models; none where there is no other.

    Raises:
        ArtifactError: the artifact, or all that the folder holds, must not be served.
        PlayfuseError: an address cannot be listened on.
    """

    def __init__(self, artifact: Path | None, settings: ServerSettings, member: Membership | None = None) -> None:
        exposure.check(settings)
        self._settings = settings
        self._member = member
        limits = settings.limits
        self._workers = Workers(settings.threads, limits.max_waiting_requests)
        self._models, self._repository = self._open(artifact)
        self.meter: Meter = LastingMeter(meters.choose(watts_per_core=settings.watts_per_core))
        self._standard = StandardServices(player_behavior.SERVICE, model_infer.SERVICE)
        methods: tuple[Method, ...] = (
            DescribeModel(self._models, limits),
            *open_inference.methods(
                self._models, settings, is_ready=lambda: self._standard.is_serving, control=self._repository
            ),
        )
        predict, infer = Predict(self._models), ModelInfer(self._models, limits)
        scoring: tuple[ScoringMethod, ...] = (predict, infer)
        metrics = CallMetrics([*map(name_of, methods), *map(name_of, scoring)])
        answering = Answering(metrics, limits.max_wait_seconds)
        known = None if settings.tokens_file is None else tokens.read(settings.tokens_file)
        access = None if known is None else Access(known)
        self._guards = [] if access is None else [Guard(access, metrics)]
        self._admin_guards = [] if known is None else [Guard(Access(known, ALL_METHODS), metrics)]
        name = choice.choose(settings)
        self._transport = choice.build(name, methods, scoring, answering, self._workers, settings, self._guards, access)
        self._standard.add_to(self._transport.server)
        self.port = self._transport.bind(_join(settings.host, settings.port))
        self._admin: AdminServer | None = None
        self.follower: Follower | None = None
        more: Callable[[], Iterable[Metric]] = tuple
        try:
            if (repository := self._repository) is not None:
                repository.router.subscribe(predict.forget)
                repository.router.subscribe(infer.forget)
                if member is None:
                    self._admin = self._listen_to_admin(repository)
                else:
                    self.follower = Follower(repository, lambda: self._own(repository, member))
                more = lambda: families(repository)  # noqa: E731
            self._exposition = exposition.Exposition(
                metrics,
                self._models,
                self.meter,
                calls_in_flight=lambda: self._transport.calls_in_flight,
                waiting_rows=lambda: self._transport.waiting_rows,
                more=more,
            )
            self._http = exposition.listen(self._exposition, settings.metrics_host, settings.metrics_port)
        except BaseException:
            self._transport.close()
            raise

    @property
    def manifests(self) -> list[Manifest]:
        """Of all that is served."""
        return [model.manifest for model in self._models.served()]

    @property
    def admin_address(self) -> str:
        """Where `ModelAdmin` listens; empty where it does not."""
        return _join(self._settings.admin_host, self._admin.port) if self._admin else ""

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

    def metrics_text(self) -> str:
        """What `metrics_url` shows, or would still show."""
        return exposition.text(self._exposition)

    def start(self) -> None:
        """Take calls."""
        self._transport.start()
        if self._admin is not None:
            self._admin.start()
        if self.follower is not None:
            self.follower.start()
        self._standard.serving()
        # What lives now lives as long as the server: never look through it for garbage again.
        gc.collect()
        gc.freeze()

    def drain(self) -> bool:
        """Stop taking calls, answer all that were taken, close everything; whether all were answered in time.

        NOT_SERVING for balancers first, still serving while they notice; then as the transport does it.
        """
        settings = self._settings
        deadline_seconds = time.monotonic() + settings.drain_seconds + settings.grace_seconds
        self._standard.shutting_down()
        # Beside the calls, which must not wait for it: a change of the models may take longer than they have.
        leaving = threading.Thread(target=self._leave_models, args=(deadline_seconds,), name="leaving", daemon=True)
        leaving.start()
        time.sleep(settings.drain_seconds)
        answered = self._transport.drain(settings.grace_seconds)
        leaving.join(max(0.0, deadline_seconds - time.monotonic()))
        if leaving.is_alive():
            _LOG.error("a change of the models was still under way: it is given up")
        for model in self._models.served():
            model.batcher.close(0.0)
        self._workers.shutdown(wait=answered)
        if self._repository is not None:
            self._repository.close()
        self._standard.close()
        for guard in (*self._guards, *self._admin_guards):
            guard.close()
        self._http.shutdown()
        self._http.server_close()
        return answered

    def _listen_to_admin(self, repository: Repository) -> AdminServer:
        settings = self._settings
        address = _join(settings.admin_host, settings.admin_port)
        reuse_port = self._member is not None
        return AdminServer(repository, address, interceptors=self._admin_guards, reuse_port=reuse_port)

    def _leave_models(self, deadline_seconds: float) -> None:
        """Change no more what is served: another one owns it once the last change is made."""
        if self.follower is not None:
            self.follower.close()
        if self._admin is not None:
            self._admin.stop(max(0.0, deadline_seconds - time.monotonic()))
        if self._member is not None:
            self._member.release()

    def _own(self, repository: Repository, member: Membership) -> None:
        """Decide what is served, for the others too."""
        admin = self._listen_to_admin(repository)
        member.owns = True
        self._admin = admin
        admin.start()
        repository.record.take_over()
        _LOG.info("what is served is changed here from now on")

    def _open(self, artifact: Path | None) -> tuple[Models, Repository | None]:
        def others_are_coming() -> bool:
            return self._workers.running > 1

        settings = self._settings
        if settings.models is not None:
            repository = Repository(settings.models, settings, others_are_coming=others_are_coming, member=self._member)
            return repository.router, repository
        if artifact is None:
            raise PlayfuseError("server", got="nothing to serve", expected="an artifact, or a folder of models")
        return OneModel(ServedModel.load(artifact, settings.limits, others_are_coming=others_are_coming)), None


def serve(
    artifact: Path | None,
    settings: ServerSettings,
    *,
    on_ready: Callable[[Server], None],
    on_drained: Callable[[Server], None] = lambda _: None,
    line: socket.socket | None = None,
    hear: Callable[[Server], bool] = lambda _: False,
    member: Membership | None = None,
) -> bool:
    """Serve until SIGTERM or SIGINT, then drain; for the main thread of a process.

    Args:
        artifact: folder of the one model; none where the settings name a folder of models.
        settings: addresses and limits.
        on_ready: called once it takes calls.
        on_drained: called once it has answered its last one.
        line: to a supervisor.
        hear: called when there is something to read on that line, or its other end is closed; whether to go on.
        member: see `Server`.

    Returns:
        Whether every accepted call was answered.
    """
    with signals.to_socket(signal.SIGTERM, signal.SIGINT) as stop:
        if settings.max_memory_bytes is not None:
            resource.setrlimit(
                resource.RLIMIT_AS, (settings.max_memory_bytes, resource.getrlimit(resource.RLIMIT_AS)[1])
            )
        server = Server(artifact, settings, member)
        server.start()
        on_ready(server)
        watched = [stop] if line is None else [stop, line]
        while stop not in (heard := polling.readable(watched, _METER_PERIOD_SECONDS)):
            if heard and not hear(server):
                break
            server.meter.read()
        _LOG.info("draining: at most %g s", settings.drain_seconds + settings.grace_seconds)
        answered = server.drain()
        on_drained(server)
        if not answered:
            _LOG.error("calls were still unanswered after %g s; they are lost", settings.grace_seconds)
        return answered


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
