"""Many prepared requests at once: one `h2load` per model, all on the client's core, as many requests for each."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.calls import Call

CONNECTIONS: Final = 8
"""Of the whole load over HTTP/2; over HTTP/1.1 every request under way has its own."""
LIMIT_SECONDS: Final = 60.0
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_COUNTS: Final = re.compile(
    r"finished in ([\d.]+)(us|ms|s),.*?requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, \d+ failed, "
    r"(\d+) errored, (\d+) timeout.*?\((\d+)\) data",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Counted:
    """What one h2load said at its end.

    Attributes:
        seconds: it lasted.
        succeeded: requests whose reply came, with an HTTP status of 2xx.
        failed: all others that ended.
        data_bytes: of replies' bodies.
    """

    seconds: float
    succeeded: int
    failed: int
    data_bytes: int

    @classmethod
    def parse(cls, said: str) -> Counted:
        """Out of what h2load prints.

        Raises:
            PlayfuseError: it did not come to its end.
        """
        found = _COUNTS.search(said)
        if found is None:
            raise PlayfuseError("h2load", got=said[-500:], expected="its counts of requests and bytes")
        duration, unit, done, succeeded, errored, timed_out, data = found.groups()
        return cls(
            float(duration) * _UNITS[unit],
            int(succeeded),
            int(done) - int(succeeded) + int(errored) + int(timed_out),
            int(data),
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """What a load came to.

    Attributes:
        jobs: all of them answered.
        seconds: until the last reply.
        client_busy: share of its core that the client used: near 1, the client was the limit.
    """

    jobs: int
    seconds: float
    client_busy: float

    def jobs_in(self, seconds: float) -> int:
        """How many it would be in that time."""
        return round(self.jobs / self.seconds * seconds)


def send(port: int, calls: Sequence[Call], replies: Sequence[int], under_way: int, *, jobs: int, core: int) -> Sent:
    """Send so many jobs to 127.0.0.1 from one core; each job is one request of every call.

    A count, not a time, ends the load: no request is left unanswered, so none costs CPU time that nobody counts.

    Args:
        port: of the server.
        calls: one per model.
        replies: bytes of each one's reply body. h2load looks at the HTTP status only, but a gRPC error has no body:
            so the bytes tell whether every reply held an answer.
        under_way: jobs at any time.
        jobs: in all; at least `under_way`.
        core: of all the load.

    Raises:
        PlayfuseError: h2load is missing or not done in time, a request failed, or the replies are not of that size.
    """
    program = shutil.which("h2load")
    if program is None:
        raise PlayfuseError(
            "h2load", got="no such program", expected="h2load on PATH", fix="apt-get install nghttp2-client"
        )
    before, began = _children_seconds(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for number, call in enumerate(calls):
            body = Path(folder) / str(number)
            body.write_bytes(call.body)
            command = ["taskset", "-c", str(core), program, "-t", "1", "-n", str(jobs), "-d", str(body)]
            command += streams(call, under_way, max(1, CONNECTIONS // len(calls)))
            command += [part for header in call.headers for part in ("-H", header)]
            commands.append([*command, f"http://127.0.0.1:{port}{call.path}"])
        counted = [Counted.parse(said) for said in side_by_side(commands)]
    wall = time.monotonic() - began
    for call, one, reply in zip(calls, counted, replies, strict=True):
        check(call.path, one, jobs, reply)
    return Sent(jobs, max(one.seconds for one in counted), (_children_seconds() - before) / wall)


def streams(call: Call, under_way: int, connections: int) -> list[str]:
    """h2load's options for so many requests under way at any time."""
    if call.http2:
        return ["-c", str(connections), "-m", str(under_way // connections)]
    return ["--h1", "-c", str(under_way)]


def check(path: str, counted: Counted, requests: int, reply_bytes: int) -> None:
    """Every request was answered, and every reply held an answer.

    Raises:
        PlayfuseError: otherwise.
    """
    if (counted.succeeded, counted.failed, counted.data_bytes) != (requests, 0, requests * reply_bytes):
        raise PlayfuseError(
            f"load on {path}",
            got=f"{counted.succeeded} replies, {counted.failed} failures, {counted.data_bytes} bytes",
            expected=f"{requests} replies, no failure, and {reply_bytes} bytes a reply",
        )


def side_by_side(commands: Sequence[Sequence[str]], limit_seconds: float = LIMIT_SECONDS) -> list[str]:
    """What they all say; none is left running.

    Raises:
        PlayfuseError: they take longer than that.
    """
    deadline = time.monotonic() + limit_seconds
    processes: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return [process.communicate(timeout=max(0.0, deadline - time.monotonic()))[0] for process in processes]
    except subprocess.TimeoutExpired as error:
        raise PlayfuseError("load", got="replies still missing", expected=f"all within {limit_seconds:g} s") from error
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
