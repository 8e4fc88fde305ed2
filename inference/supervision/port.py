"""The one port that all workers listen on.

With `SO_REUSEPORT` the kernel spreads new connections over all sockets that listen on a port. It would also let a
second supervisor of the same user join in unnoticed, so the port is first asked for without it. Then a socket that
never listens holds it, so that it stays ours while no worker lives.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Self

from inference.contract.errors import PlayfuseError


class ReservedPort:
    """A port that is ours until `close`.

    Args:
        host: address or name; a name is reserved on all its addresses.
        port: 0 takes any free one.
        option: of the command line that sets it.

    Raises:
        PlayfuseError: it is taken, or not an address of this machine.
    """

    def __init__(self, host: str, port: int, option: str = "--port") -> None:
        self._sockets = ExitStack()
        self.port = port
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._reserve(family, kind, protocol, address)
        except (OSError, UnicodeError) as error:
            self.close()
            raise PlayfuseError(
                f"address {host}:{port}",
                got=(error.strerror if isinstance(error, OSError) else "") or "an address that cannot be listened on",
                expected="a free port on an address of this machine",
                fix=f"Another server may run there: stop it, or name another port with {option}; 0 takes any free one.",
            ) from error

    def close(self) -> None:
        """Let it go."""
        self._sockets.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reserve(self, family: int, kind: int, protocol: int, address: tuple[object, ...]) -> None:
        target = (address[0], self.port, *address[2:])
        with socket.socket(family, kind, protocol) as alone:
            # Connections of a former server that are still closing do not count (tcp(7), SO_REUSEADDR in socket(7)).
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(target)
            self.port = alone.getsockname()[1]
        held = self._sockets.enter_context(socket.socket(family, kind, protocol))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((address[0], self.port, *address[2:]))
