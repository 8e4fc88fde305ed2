"""A worker's end of the socket to its supervisor."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from inference.supervision.messages import Follow, Released, TakeBack, send

if TYPE_CHECKING:
    import socket

    from inference.repository.canary import Verdict
    from inference.repository.state import Serving
    from inference.supervision.messages import AnyMessage


class SupervisorLine:
    """Tells the supervisor, whole message by message (`repository.membership.Line`).

    Args:
        line: the socket.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._lock = threading.Lock()

    def tell(self, message: AnyMessage) -> None:
        """Any thread may. Where the supervisor has gone this worker goes as well, in a moment."""
        with self._lock, suppress(OSError):
            send(self._line, message)

    def publish(self, serving: Serving) -> None:
        """See `Line`."""
        self.tell(Follow(serving=serving))

    def report(self, name: str, version: str, verdict: Verdict) -> None:
        """See `Line`."""
        self.tell(TakeBack(model=name, version=version, verdict=verdict))

    def release(self) -> None:
        """See `Line`."""
        self.tell(Released())
