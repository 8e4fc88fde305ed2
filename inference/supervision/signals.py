"""Signals that wake whoever waits for several things at once."""

from __future__ import annotations

import signal
import socket


def to_socket(*numbers: int) -> socket.socket:
    """A socket that gets the number of each signal as a byte; see `inference.server`.

    Args:
        numbers: of the signals, which do nothing else from now on.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return reader
