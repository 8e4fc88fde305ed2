"""`playfuse serve` as a child process: started, awaited until it is ready, stopped by its process id."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_POLL_SECONDS: Final = 0.02
_ANNOUNCED: Final = re.compile(
    r"^gRPC\s+(\S+)$.*^metrics\s+(\S+)$(?:\nadmin\s+(\S+)$)?.*^ready\s", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server.

    Attributes:
        process: the child.
        address: where gRPC listens, `host:port`.
        metrics_url: where the metrics are.
        log: file with everything the server says.
        admin_address: where `ModelAdmin` listens; empty where it does not.
    """

    process: subprocess.Popen[bytes]
    address: str
    metrics_url: str
    log: Path
    admin_address: str = ""

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def stop(self, timeout_seconds: float = 20.0) -> int:
        """SIGTERM, then wait until it has drained; SIGKILL where that takes too long. Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start(
    arguments: Sequence[str], log: Path, *, ready_seconds: float = 30.0, python: Path | str = sys.executable
) -> ServerProcess:
    """Start `playfuse serve ARGUMENTS` on free ports of 127.0.0.1, unless the arguments name others.

    The child has a session of its own: Ctrl-C in a terminal reaches the caller only, who then stops it.

    Args:
        arguments: what follows `playfuse serve`.
        log: file for its output; its folder is made.
        ready_seconds: how long it may take until it is ready.
        python: interpreter whose playfuse serves.

    Raises:
        PlayfuseError: it ended or was not ready in time; with the end of its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        str(python),
        "-m",
        "playfuse",
        "serve",
        "--port",
        "0",
        "--metrics-port",
        "0",
        "--admin-port",
        "0",
        *arguments,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    deadline = time.monotonic() + ready_seconds
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if announced := _ANNOUNCED.search(log.read_text()):
                return ServerProcess(process, announced[1], announced[2], log, announced[3] or "")
            time.sleep(_POLL_SECONDS)
    except BaseException:
        process.kill()
        raise
    code = process.poll()
    process.kill()
    process.wait()
    raise PlayfuseError(
        " ".join(["playfuse serve", *arguments]),
        got=("nothing" if code is None else f"exit code {code}") + f"; it said:\n{log.read_text()[-2_000:].strip()}",
        expected=f"a server that is ready within {ready_seconds:g} s",
    )
