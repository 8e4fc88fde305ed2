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

from inference.contract.errors import PlayfuseError
from inference.supervision.messages import Inbox, Job, send

if TYPE_CHECKING:
    from inference.supervision.messages import AnyMessage, Fault

_LOG = logging.getLogger(__name__)
_REAP_SECONDS: Final = 5.0


class WorkerProcess:
    """A started worker.

    Args:
        job: what it has to do.

    Raises:
        PlayfuseError: the system has no process or no descriptor for it.
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
        try:
            self._start(job)
        except OSError as error:
            raise PlayfuseError(
                f"worker {job.number}",
                got=error.strerror or str(error),
                expected="a process that starts",
                fix="The system is short of processes, open files or memory: free some, or allow more.",
            ) from error

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def served_seconds(self) -> float:
        """How long it has answered."""
        return 0.0 if self.ready_since_seconds is None else time.monotonic() - self.ready_since_seconds

    def fileno(self) -> int:
        """For `polling.readable`: readable when it has something to tell or has ended."""
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

    def _start(self, job: Job) -> None:
        self._line, its = socket.socketpair()
        self._inbox = Inbox(self._line)
        with its:
            command = [sys.executable, "-m", "inference.supervision.worker", str(its.fileno())]
            try:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()])
            except OSError:
                self._line.close()
                raise
        try:
            send(self._line, job)
        except OSError:  # it has ended already, or will for want of a job; either is noticed as its end
            self._line.shutdown(socket.SHUT_RDWR)


def ending(code: int) -> str:
    """How a process ended, in words.

    Args:
        code: see `WorkerProcess.reap`.
    """
    if code < 0:
        return f"ended by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with exit code {code}"
