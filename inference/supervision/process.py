"""A worker as its supervisor sees it."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from inference.supervision.messages import Inbox, Job, send

if TYPE_CHECKING:
    from inference.supervision.messages import AnyMessage, Fault

_LOG = logging.getLogger(__name__)
_REAP_SECONDS: Final = 5.0


class WorkerProcess:
    """A started worker.

    Args:
        job: what it has to do.
    """

    def __init__(self, job: Job) -> None:
        self.number = job.number
        self.ready_since_seconds: float | None = None
        """`time.monotonic` since when it answers; none before."""
        self.fault: Fault | None = None
        """Why it could not start."""
        self.last_metrics: str | None = None
        """All that it had counted when it left; none where it was not given the time to tell."""
        self.kill_at_seconds: float | None = None
        """`time.monotonic` when it has had time enough to drain; none unless it was told to leave."""
        ours, its = socket.socketpair()
        with its:
            command = [sys.executable, "-m", "inference.supervision.worker", str(its.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()])
        self._line = ours
        self._inbox = Inbox(ours)
        send(ours, job)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def served_seconds(self) -> float:
        """How long it has answered."""
        return 0.0 if self.ready_since_seconds is None else time.monotonic() - self.ready_since_seconds

    def fileno(self) -> int:
        """For `select`: readable when it has something to tell or has ended."""
        return self._line.fileno()

    def receive(self) -> list[AnyMessage]:
        """Hear what it tells."""
        messages = self._inbox.receive()
        for message in messages:
            if message.kind == "ready":
                self.ready_since_seconds = time.monotonic()
            elif message.kind == "fault":
                self.fault = message
            elif message.kind == "last":
                self.last_metrics = message.metrics
        return messages

    def tell(self, message: AnyMessage) -> None:
        """Tell it something; one that has ended hears it no more, which is noticed elsewhere."""
        with suppress(OSError):
            send(self._line, message)

    @property
    def has_ended(self) -> bool:
        """Whether its end of the socket is closed: it is dead or just dying."""
        return self._inbox.is_closed

    def leave(self, within_seconds: float) -> None:
        """Tell it to drain; it is killed if it takes longer than that."""
        if self.kill_at_seconds is None:
            self.kill_at_seconds = time.monotonic() + within_seconds
            self._process.send_signal(signal.SIGTERM)

    def kill_if_late(self) -> None:
        """End it where it has had time enough."""
        if self.kill_at_seconds is not None and time.monotonic() > self.kill_at_seconds and not self.has_ended:
            _LOG.error("worker %d (pid %d) has not left in time: it is killed", self.number, self.pid)
            self._process.kill()

    def reap(self) -> int:
        """The exit code, negative where a signal was its end; waits for it, and closes the socket."""
        try:
            code = self._process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._line.close()
        return code
