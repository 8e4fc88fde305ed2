"""Many prepared requests at once: one `h2load` per model, all on the client's core, all for the same seconds."""

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
_LATE_SECONDS: Final = 60
_COUNTS: Final = re.compile(
    r"finished in ([\d.]+)s.*?requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, \d+ failed, (\d+) "
    r"errored, (\d+) timeout.*?\((\d+)\) data",
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
        seconds, done, succeeded, errored, timed_out, data = found.groups()
        return cls(
            float(seconds), int(succeeded), int(done) - int(succeeded) + int(errored) + int(timed_out), int(data)
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """What a load came to.

    Attributes:
        answered: requests, over all models.
        seconds: the load lasted.
        client_busy: share of its core that the client used: near 1, the client was the limit.
    """

    answered: int
    seconds: float
    client_busy: float


def send(port: int, calls: Sequence[Call], replies: Sequence[int], jobs: int, *, seconds: int, core: int) -> Sent:
    """Keep so many jobs under way at 127.0.0.1 from one core; each job is one request of every call.

    Args:
        port: of the server.
        calls: one per model.
        replies: bytes of each one's reply body. h2load looks at the HTTP status only, but a gRPC error has no body:
            so the bytes tell how many replies held an answer.
        jobs: under way at any time.
        seconds: how long.
        core: of all the load.

    Raises:
        PlayfuseError: h2load is missing, a request failed, or the replies are not of that size.
    """
    program = shutil.which("h2load")
    if program is None:
        raise PlayfuseError(
            "h2load", got="no such program", expected="h2load on PATH", fix="apt-get install nghttp2-client"
        )
    each = max(1, CONNECTIONS // len(calls))
    before = _children_seconds()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        processes: list[subprocess.Popen[str]] = []
        try:
            for number, call in enumerate(calls):
                body = Path(folder) / str(number)
                body.write_bytes(call.body)
                streams = ["-c", str(each), "-m", str(jobs // each)] if call.grpc else ["--h1", "-c", str(jobs)]
                command = ["taskset", "-c", str(core), program, "-t", "1", "-D", str(seconds), *streams]
                command += ["-d", str(body), *(part for header in call.headers for part in ("-H", header))]
                command.append(f"http://127.0.0.1:{port}{call.path}")
                processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            said = [process.communicate(timeout=seconds + _LATE_SECONDS)[0] for process in processes]
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    wall = time.monotonic() - began
    counted = [Counted.parse(text) for text in said]
    for call, one, reply in zip(calls, counted, replies, strict=True):
        check(call.path, one, reply, jobs)
    return Sent(
        answered=sum(one.succeeded for one in counted),
        seconds=max(one.seconds for one in counted),
        client_busy=(_children_seconds() - before) / wall,
    )


def check(path: str, counted: Counted, reply_bytes: int, under_way: int) -> None:
    """Every request ended well, and every reply held an answer; those that were under way at the end may be in parts.

    Raises:
        PlayfuseError: otherwise.
    """
    off = abs(counted.data_bytes - counted.succeeded * reply_bytes)
    if counted.failed or not counted.succeeded or off > under_way * reply_bytes:
        raise PlayfuseError(
            f"load on {path}",
            got=f"{counted.succeeded} replies, {counted.failed} failures, {counted.data_bytes} bytes",
            expected=f"no failure, and {reply_bytes} bytes a reply",
        )


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
