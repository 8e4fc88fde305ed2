"""One server at a time: start it, see that it answers right, load it, stop it."""

from __future__ import annotations

import contextlib
import functools
import http.client
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import numpy as np

from benchmarks.peers.calls import ask
from benchmarks.peers.load import send
from benchmarks.peers.servers.adapter import Place
from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.peers.processes import Running
    from benchmarks.peers.servers.adapter import Adapter, Setting
    from benchmarks.peers.work import Job, Models

SERVER_CORE, CLIENT_CORE = 0, 1
READY_SECONDS: Final = 90.0
UNANSWERED: Final = (grpc.RpcError, OSError, http.client.HTTPException)
_POLL_SECONDS: Final = 0.1
_TOLERANCE: Final = 1e-4
_ROUNDS: Final = 2
"""A load is at least so many times the jobs that are under way at once."""
_WARM_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of job.

    Attributes:
        players: of one job.
        under_way: jobs that the client keeps under way.
    """

    players: int
    under_way: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What a server did in one turn.

    Attributes:
        jobs_per_second: all eight behaviours of all the job's players, answered.
        cpu_us_per_job: of all its processes.
        resident_mib: of all its processes after the load, shared memory counted once.
        client_busy: share of the client's core.
    """

    jobs_per_second: float
    cpu_us_per_job: float
    resident_mib: float
    client_busy: float


@contextlib.contextmanager
def running(adapter: Adapter, setting: Setting, models: Models, cache: Path) -> Iterator[Running]:
    """The server; whatever happens, none of its processes is left at the end."""
    with tempfile.TemporaryDirectory(prefix="playfuse-peers-") as folder:
        server = adapter.start(setting, Place(models, cache, Path(folder), SERVER_CORE))
        try:
            yield server
        finally:
            server.stop()


def await_ready(adapter: Adapter, server: Running, job: Job) -> None:
    """Wait until each of its models answers, then check where it runs and listens.

    Raises:
        PlayfuseError: it ended, was not ready in time, uses another core or listens on another interface.
    """
    deadline = time.monotonic() + READY_SECONDS
    calls = list(adapter.calls(job))
    while calls:
        try:
            ask(server.port, calls[-1])
        except (*UNANSWERED, PlayfuseError) as error:
            if not server.lives() or time.monotonic() > deadline:
                said = server.log.read_text(errors="replace")[-2_000:].strip()
                raise PlayfuseError(
                    adapter.title, got=f"{error!r}; it said:\n{said}", expected=f"ready within {READY_SECONDS:g} s"
                ) from error
            time.sleep(_POLL_SECONDS)
        else:
            calls.pop()
    server.check_confined(SERVER_CORE)


def check_answers(adapter: Adapter, server: Running, job: Job) -> list[int]:
    """Every value against ONNX Runtime's; the sizes of the replies, one per call.

    Raises:
        PlayfuseError: a value is another one, or there is none.
    """
    calls = adapter.calls(job)
    try:
        replies = [ask(server.port, call) for call in calls]
    except UNANSWERED as error:
        raise PlayfuseError(adapter.title, got=repr(error), expected="an answer of every model") from error
    for call, reply, expected in zip(calls, replies, adapter.expected(job), strict=True):
        values = adapter.read(reply)
        if values.shape != expected.shape or not np.allclose(values, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise PlayfuseError(
                f"{adapter.title}, {call.path}",
                got=f"{values.shape}: {values.ravel()[:4]} …",
                expected=f"{expected.shape}: {expected.ravel()[:4]} …, as ONNX Runtime says",
            )
    return [call.reply_bytes(reply) for call, reply in zip(calls, replies, strict=True)]


def turn(adapter: Adapter, server: Running, job: Job, case: Case, *, seconds: int) -> Turn:
    """One load on a running server, its answers checked by value before and after.

    The load is as many jobs as the server did in about `seconds` when it got warm.

    Raises:
        PlayfuseError: an answer is wrong or missing.
    """
    sizes: Sequence[int] = check_answers(adapter, server, job)
    load = functools.partial(send, server.port, adapter.calls(job), sizes, case.under_way, core=CLIENT_CORE)
    fewest = _ROUNDS * case.under_way
    warm = load(jobs=fewest)
    while warm.seconds < _WARM_SECONDS:
        warm = load(jobs=max(2 * warm.jobs, warm.jobs_in(_WARM_SECONDS)))
    before = server.cpu_seconds()
    sent = load(jobs=max(fewest, warm.jobs_in(seconds)))
    cpu_seconds = server.cpu_seconds() - before
    check_answers(adapter, server, job)
    return Turn(
        jobs_per_second=sent.jobs / sent.seconds,
        cpu_us_per_job=1e6 * cpu_seconds / sent.jobs,
        resident_mib=server.resident_bytes() / 2**20,
        client_busy=sent.client_busy,
    )
