"""The process of one worker: `python -m inference.supervision.worker DESCRIPTOR`, started by a supervisor."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from inference import open_files
from inference.console import USER_FAULT_EXIT_CODE
from inference.contract.errors import PlayfuseError
from inference.supervision.line import SupervisorLine
from inference.supervision.messages import Fault, Follow, Inbox, Job, Last, Own, Ready, TakeBack

if TYPE_CHECKING:
    from inference.server import Server
    from inference.supervision.messages import AnyMessage

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s worker {number}: %(name)s: %(message)s"
_UNANSWERED_EXIT_CODE: Final = 1


def main(descriptor: int) -> int:
    """Do the job that comes over the socket, until a signal or the supervisor's end; the exit code."""
    line = socket.socket(fileno=descriptor)
    line.set_inheritable(False)
    inbox = Inbox(line)
    jobs: list[object] = []
    while not jobs and not inbox.is_closed:
        jobs = list(inbox.receive())
    if not jobs:
        return 0  # the supervisor has gone already
    job = jobs[0]
    assert isinstance(job, Job)
    # A signal for the supervisor alone; a terminal that hangs up sends it to the whole group.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})  # before any library counts the cores
    open_files.raise_limit()
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT.format(number=job.number))
    try:
        return 0 if _serve(job, line, inbox) else _UNANSWERED_EXIT_CODE
    except PlayfuseError as error:
        SupervisorLine(line).tell(Fault.of(error))
        return USER_FAULT_EXIT_CODE


def _serve(job: Job, line: socket.socket, inbox: Inbox) -> bool:
    from inference import announcement, server
    from inference.repository.membership import Membership

    supervisor = SupervisorLine(line)

    def ready(serving: Server) -> None:
        supervisor.tell(Ready(metrics_url=serving.metrics_url, lines=announcement.lines(serving)))

    def drained(serving: Server) -> None:
        supervisor.tell(Last(metrics=serving.metrics_text()))

    def hear(serving: Server) -> bool:
        for message in inbox.receive():
            _hand_on(message, serving)
        return not inbox.is_closed

    member = None if job.settings.models is None else Membership(supervisor, job.serving)
    return server.serve(
        job.artifact, job.settings, on_ready=ready, on_drained=drained, line=line, hear=hear, member=member
    )


def _hand_on(message: AnyMessage, serving: Server) -> None:
    follower = serving.follower
    assert follower is not None, "told of models without a folder of them"
    if isinstance(message, Follow):
        follower.follow(message.serving)
    elif isinstance(message, Own):
        follower.own()
    elif isinstance(message, TakeBack):
        follower.take_back(message.model, message.version, message.verdict)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
