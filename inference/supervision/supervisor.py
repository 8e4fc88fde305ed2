"""Starts the workers, starts those anew that die, replaces them on SIGHUP, and drains them together on SIGTERM."""

from __future__ import annotations

import logging
import signal
import socket
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

from inference import exposition, polling, signals
from inference.contract.errors import PlayfuseError
from inference.security import exposure
from inference.supervision import cores
from inference.supervision.backoff import Backoff
from inference.supervision.fleet_metrics import FleetMetrics
from inference.supervision.messages import Job
from inference.supervision.ownership import Ownership
from inference.supervision.port import ReservedPort
from inference.supervision.process import WorkerProcess, ending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inference.settings import ServerSettings
    from inference.supervision.messages import Ready

_LOG = logging.getLogger(__name__)
_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_TICK_SECONDS: Final = 1.0
_SPARE_SECONDS: Final = 10.0
"""What a worker may need to leave beyond its draining and its grace."""


def count(settings: ServerSettings) -> int:
    """How many workers are wanted."""
    return len(cores.usable()) if settings.workers == "auto" else settings.workers


def supervise(artifact: Path | None, settings: ServerSettings, *, on_ready: Callable[[dict[str, str]], None]) -> bool:
    """Serve with workers until SIGTERM or SIGINT; for the main thread of a process.

    Args:
        artifact: folder of the model; none where the settings name a folder of models.
        settings: of the whole.
        on_ready: gets the announcement once all workers answer.

    Returns:
        Whether every accepted call was answered.

    Raises:
        PlayfuseError: the port is taken, or a worker cannot start; its own reason.
    """
    exposure.check(settings)
    wanted = count(settings)
    with (
        signals.to_socket(*_STOP, signal.SIGHUP) as received,
        ReservedPort(settings.host, settings.port) as reserved,
        nullcontext()
        if settings.models is None
        else ReservedPort(settings.admin_host, settings.admin_port, "--admin-port") as admin,
    ):
        metrics = FleetMetrics(wanted)
        http = exposition.listen(metrics, settings.metrics_host, settings.metrics_port)
        try:
            of_worker = _of_worker(settings, reserved.port, admin.port if admin else settings.admin_port)
            fleet = Fleet(artifact, of_worker, wanted, metrics, pin=settings.pin_workers)
            running = fleet.start(received)
            if running is not None:
                url = f"http://{_join(settings.metrics_host, http.server_port)}{exposition.METRICS_PATH}"
                own = {"metrics": url, "admin": _join(settings.admin_host, admin.port) if admin else ""}
                on_ready({**running.lines, **own, "workers": f"{wanted}, pids {', '.join(map(str, fleet.pids()))}"})
                fleet.run(received)
            return fleet.stop()
        finally:
            metrics.close()
            http.shutdown()
            http.server_close()


class Fleet:
    """The workers of one server.

    Args:
        artifact: folder of the model; none where the settings name a folder of models.
        settings: of each worker.
        wanted: how many.
        metrics: to tell who comes and goes.
        pin: whether each is kept on a core of its own.
    """

    def __init__(
        self, artifact: Path | None, settings: ServerSettings, wanted: int, metrics: FleetMetrics, *, pin: bool
    ) -> None:
        self._artifact = artifact
        self._settings = settings
        self._numbers = range(wanted)
        self._metrics = metrics
        self._cores = cores.usable() if pin else []
        self._leave_seconds = settings.drain_seconds + settings.grace_seconds + _SPARE_SECONDS
        self._serving: dict[int, WorkerProcess] = {}
        self._leaving: list[WorkerProcess] = []
        self._successor: WorkerProcess | None = None
        self._to_replace: list[int] = []
        self._ownership = Ownership(is_needed=settings.models is not None)
        self._backoffs = [Backoff() for _ in self._numbers]
        self._start_at_seconds: dict[int, float] = {}
        self._all_answered = True

    def pids(self) -> list[int]:
        """Process ids of the workers that serve or start, in order."""
        return [worker.pid for worker in self._by_number()]

    def start(self, signals: socket.socket) -> Ready | None:
        """Start all and wait until they answer and one owns the models; none where a signal came first.

        Raises:
            PlayfuseError: one of them cannot start.
        """
        for number in self._numbers:
            try:
                self._serving[number] = self._spawn(number)
            except PlayfuseError:
                self.stop()
                raise
        first: Ready | None = None
        while not self._ownership.is_settled or any(
            worker.ready_since_seconds is None for worker in self._serving.values()
        ):
            received, talking = self._wait(signals)
            if received.intersection(_STOP):
                return None
            for worker in talking:
                first = self._hear(worker) or first
                if worker.has_ended:
                    raise self._cannot_start(worker)
            self._ownership.appoint(self._by_number())
        return first

    def run(self, signals: socket.socket) -> None:
        """Look after them until a signal ends it."""
        while True:
            received, talking = self._wait(signals)
            if received.intersection(_STOP):
                return
            if signal.SIGHUP in received:
                self._begin_replacing()
            for worker in talking:
                self._hear(worker)
                if worker.has_ended:
                    self._ended(worker)
            self._start_due()
            self._replace_next()
            self._ownership.appoint(self._by_number())
            for worker in self._leaving:
                worker.kill_if_late()

    def stop(self) -> bool:
        """Drain all together; whether every accepted call was answered."""
        self._leaving += self._staying()
        self._serving, self._successor = {}, None
        for worker in self._leaving:
            self._tell_to_leave(worker)
        while self._leaving:
            for worker in polling.readable(self._leaving, _TICK_SECONDS):
                self._hear(worker)
                if worker.has_ended:
                    self._gone(worker)
            for worker in self._leaving:
                worker.kill_if_late()
        return self._all_answered

    def _spawn(self, number: int) -> WorkerProcess:
        core = self._cores[number % len(self._cores)] if self._cores else None
        serving = self._ownership.serving
        return WorkerProcess(
            Job(number=number, artifact=self._artifact, settings=self._settings, core=core, serving=serving)
        )

    def _by_number(self) -> list[WorkerProcess]:
        return [self._serving[number] for number in sorted(self._serving)]

    def _all(self) -> list[WorkerProcess]:
        return [*self._staying(), *self._leaving]

    def _staying(self) -> list[WorkerProcess]:
        """Those that still hear what they are told."""
        return [*self._serving.values(), *([self._successor] if self._successor else [])]

    def _wait(self, signals: socket.socket) -> tuple[set[int], list[WorkerProcess]]:
        """Signals that have come, and who has something to tell; a second or the next start later at most."""
        due = min(self._start_at_seconds.values(), default=float("inf")) - time.monotonic()
        watched: list[socket.socket | WorkerProcess] = [signals, *self._all()]
        readable = polling.readable(watched, max(0.0, min(due, _TICK_SECONDS)))
        received = set(signals.recv(64)) if signals in readable else set()
        return received, [one for one in readable if isinstance(one, WorkerProcess)]

    def _hear(self, worker: WorkerProcess) -> Ready | None:
        first: Ready | None = None
        for message in worker.receive():
            if message.kind == "ready":
                self._metrics.joined(worker.pid, message.metrics_url)
                first = message
            self._ownership.hear(worker, message, self._staying())
        if worker.has_ended:
            self._ownership.gone(worker)
        return first

    def _cannot_start(self, worker: WorkerProcess) -> PlayfuseError:
        """End all; the reason of the one that could not start."""
        self._serving.pop(worker.number)
        code = worker.reap()
        self.stop()
        if worker.fault is not None:
            return worker.fault.error()
        return PlayfuseError(
            f"worker {worker.number}", got=ending(code), expected="a worker that starts", fix="Its log tells more."
        )

    def _ended(self, worker: WorkerProcess) -> None:
        """One has gone, told to or not."""
        if worker in self._leaving:
            self._gone(worker)
            return
        code = worker.reap()
        self._metrics.left(worker.pid, worker.last_metrics)
        reason = worker.fault.error() if worker.fault else ending(code)
        if worker is self._successor:
            self._end_replacing(worker.number, reason)
            return
        del self._serving[worker.number]
        pause = self._start_later(worker.number, worker.served_seconds)
        _LOG.error("worker %d (pid %d) is gone: %s; next start in %g s", worker.number, worker.pid, reason, pause)

    def _gone(self, worker: WorkerProcess) -> None:
        """One that was told to leave has left."""
        self._leaving.remove(worker)
        code = worker.reap()
        self._metrics.left(worker.pid, worker.last_metrics)
        if code != 0 and worker.ready_since_seconds is not None:
            self._all_answered = False
            _LOG.error("worker %d (pid %d) left calls unanswered: %s", worker.number, worker.pid, ending(code))

    def _tell_to_leave(self, worker: WorkerProcess) -> None:
        self._metrics.leaving(worker.pid)
        worker.leave(self._leave_seconds)

    def _start_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._start_at_seconds.items() if due <= now]:
            try:
                self._serving[number] = self._spawn(number)
            except PlayfuseError as error:
                _LOG.error("%s Next start in %g s", error, self._start_later(number, 0.0))
                continue
            del self._start_at_seconds[number]
            self._metrics.restarted()

    def _start_later(self, number: int, served_seconds: float) -> float:
        pause = self._backoffs[number].after(served_seconds)
        self._start_at_seconds[number] = time.monotonic() + pause
        return pause

    def _begin_replacing(self) -> None:
        _LOG.info("workers are replaced one after the other")
        self._to_replace = list(self._numbers)

    def _end_replacing(self, number: int, reason: object) -> None:
        _LOG.error("the new worker %d could not start, the former one stays: %s", number, reason)
        self._successor, self._to_replace = None, []

    def _replace_next(self) -> None:
        """One step of a rolling restart: the new one answers before the former one drains, and one at a time."""
        if self._successor is not None:
            if self._successor.ready_since_seconds is None:
                return
            former = self._serving.get(self._successor.number)
            self._start_at_seconds.pop(self._successor.number, None)  # where that one has died: this one is its restart
            self._serving[self._successor.number] = self._successor
            self._successor = None
            if former is not None:
                self._tell_to_leave(former)
                self._leaving.append(former)
        if self._to_replace and not self._leaving:
            number = self._to_replace.pop(0)
            if number in self._serving:  # one that is about to start is new in any case
                try:
                    self._successor = self._spawn(number)
                except PlayfuseError as error:
                    self._end_replacing(number, error)


def _of_worker(settings: ServerSettings, port: int, admin_port: int) -> ServerSettings:
    """The settings of each worker: the port is shared, the metrics are for the supervisor alone."""
    own = {"port": port, "reuse_port": True, "metrics_host": "127.0.0.1", "metrics_port": 0, "workers": 1}
    return settings.model_copy(update={**own, "admin_port": admin_port})


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
