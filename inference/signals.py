"""Signals that wake whoever waits for several things at once.

The kernel may hand a signal to any thread, of gRPC's or NumPy's own too: it would not wake a main thread that waits for
a lock or an event, and Python's handlers run in that thread only. What does wake it is a byte on a socket.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def to_socket(*numbers: int) -> Iterator[socket.socket]:
    """A socket that gets the number of each signal as a byte; for the main thread.

    Args:
        numbers: of the signals, which do nothing else from now on, and nothing at all once the block has ended: then
            the process is about to end.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())
        try:
            for number in numbers:
                signal.signal(number, lambda *_: None)
            yield reader
        finally:
            signal.set_wakeup_fd(-1)
