"""A server under test: all its processes on one core, on loopback only, counted together and stopped by their ids."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psutil

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

STOP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """A running server.

    Attributes:
        root: its first process; those that it starts belong to it.
        port: where it answers.
        log: file with what it says.
    """

    root: psutil.Process
    port: int
    log: Path

    def tree(self) -> list[psutil.Process]:
        """All its processes that live now."""
        with suppress(psutil.NoSuchProcess):
            return [self.root, *self.root.children(recursive=True)]
        return []

    def lives(self) -> bool:
        """Whether its first process has not ended."""
        with suppress(psutil.NoSuchProcess):
            return self.root.status() != psutil.STATUS_ZOMBIE
        return False

    def cpu_seconds(self) -> float:
        """User and system time of all of them so far."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self.tree()))

    def resident_bytes(self) -> int:
        """Memory of all of them; what several share is counted once, in parts (PSS)."""
        return sum(process.memory_full_info().pss for process in self.tree())

    def check_confined(self, core: int) -> None:
        """All of it runs on this core and listens on loopback alone.

        Raises:
            PlayfuseError: it does not.
        """
        for process in self.tree():
            cores = process.cpu_affinity()
            if cores != [core]:
                raise PlayfuseError(f"process {process.pid}", got=f"cores {cores}", expected=f"core {core} alone")
            for connection in process.net_connections("inet"):
                address = connection.laddr
                if connection.status == psutil.CONN_LISTEN and not is_loopback(address.ip):
                    raise PlayfuseError(
                        f"process {process.pid}",
                        got=f"listening on {address.ip}, port {address.port}",
                        expected="loopback only",
                    )

    def stop(self) -> None:
        """SIGTERM to the first process; SIGKILL to whatever is left of them."""
        known = self.tree()
        with suppress(psutil.NoSuchProcess):
            self.root.terminate()
        psutil.wait_procs([self.root], timeout=STOP_SECONDS)
        left = {process for process in (*known, *self.tree()) if process.is_running()}
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(list(left), timeout=STOP_SECONDS)


def start(
    command: Sequence[str], port: int, log: Path, *, core: int, environment: Mapping[str, str] | None = None
) -> Running:
    """Start a server on one core; it may not be ready yet.

    It has a session of its own: Ctrl-C in a terminal reaches the caller only, who then stops it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = psutil.Popen(
            ["taskset", "-c", str(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
            cwd=log.parent,
        )
    return Running(process, port, log)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches it; IPv4 may be written as IPv6."""
    parsed = ipaddress.ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment; not every server takes 0 for an answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
