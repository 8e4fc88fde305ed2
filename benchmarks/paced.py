"""Evenly paced load on a gRPC method: an open loop, one request at a time, when it is due.

`h2load --rps` lets its connections send some ten milliseconds' worth of requests at once, and what then waits behind
its own burst looks like the server's tail. This one spins until a request is due, and measures from that moment on: a
late start of its own counts against the server rather than being left out. Just enough HTTP/2 (RFC 9113) for that: the
headers of every request are the same bytes, windows and the server's limit of streams are kept.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.h2load import Measured, framed
from inference.contract.errors import PlayfuseError
from inference.services.player_behavior import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_STREAMS: Final = 3
"""SETTINGS_MAX_CONCURRENT_STREAMS."""
_FRAME_BYTES: Final = 16_384
_LARGEST_WINDOW: Final = 2**31 - 1
_FIRST_WINDOW: Final = 65_535
_TIMEOUT_SECONDS: Final = 30.0
_WINDOW_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Evenly(Measured):
    """What came of it.

    Attributes:
        usual_p99_ms: of the replies of one tenth of a second, the median of all tenths: what stops the machine a few
            times a second for a few milliseconds is in `p99_ms` and not in this.
    """

    usual_p99_ms: float


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field without indexing (RFC 7541, 6.2.2); both shorter than 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


class _Connection:
    """One connection, and the requests that are under way on it."""

    def __init__(self, port: int, message: bytes) -> None:
        path = f"/{SERVICE}/Predict".encode()
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost")]
        fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        self._headers = b"".join(_literal(name, value) for name, value in fields)
        body = framed(message)
        self._pieces = [body[begin : begin + _FRAME_BYTES] for begin in range(0, len(body), _FRAME_BYTES)]
        self._size = len(body)
        if self._size > _FIRST_WINDOW:
            raise PlayfuseError("message", got=f"{len(body)} bytes", expected=f"at most {_FIRST_WINDOW}: one window")
        self._window = _FIRST_WINDOW
        self._max_streams = 1  # until the server says more
        self._waiting: deque[float] = deque()
        self._stream = -1
        self._unread = b""
        self.due_seconds: dict[int, float] = {}
        self.socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        window = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
        self.socket.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b"") + _frame(_WINDOW_UPDATE, 0, 0, window))

    def send(self, due_seconds: float) -> None:
        """Send a request as soon as the server's window is open for it."""
        self._waiting.append(due_seconds)
        self._flush()

    def _flush(self) -> None:
        while self._waiting and self._window >= self._size and len(self.due_seconds) < self._max_streams:
            self._send(self._waiting.popleft())

    def _send(self, due_seconds: float) -> None:
        self._window -= self._size
        self._stream += 2
        self.due_seconds[self._stream] = due_seconds
        frames = [_frame(_HEADERS, _END_HEADERS, self._stream, self._headers)]
        for piece in self._pieces:
            last = piece is self._pieces[-1]
            frames.append(_frame(_DATA, _END_STREAM if last else 0, self._stream, piece))
        self.socket.sendall(b"".join(frames))

    def ended(self) -> Iterator[float]:
        """When each request was due whose reply has come now."""
        received = self.socket.recv(1 << 20)
        if not received:
            raise PlayfuseError("the connection", got="its end", expected="replies")
        unread, begin = self._unread + received, 0
        while begin + 9 <= len(unread):
            size = int.from_bytes(unread[begin : begin + 3], "big")
            if begin + 9 + size > len(unread):
                break
            kind, flags, stream = struct.unpack_from(">BBI", unread, begin + 3)
            payload = unread[begin + 9 : begin + 9 + size]
            begin += 9 + size
            if kind in (_RST_STREAM, _GOAWAY):
                raise PlayfuseError("a request", got=f"HTTP/2 frame {kind}", expected="a reply")
            if kind == _SETTINGS and not flags & _ACK:
                self._max_streams = dict(struct.iter_unpack(">HI", payload)).get(_STREAMS, _LARGEST_WINDOW)
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self.socket.sendall(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            if kind == _WINDOW_UPDATE and stream == 0:
                self._window += int.from_bytes(payload, "big")
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                yield self.due_seconds.pop(stream)
        self._unread = unread[begin:]
        self._flush()


def send_evenly(port: int, message: bytes, requests: int, per_second: float, connections: int, *, core: int) -> Evenly:
    """Send the same message so many times to `Predict` on loopback, one every `1 / per_second`, from one core.

    What the replies say is for the caller to check, from the server's metrics.

    Raises:
        PlayfuseError: a request failed.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    with contextlib.ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, before)
        opened = [_Connection(port, message) for _ in range(connections)]
        by_file = {one.socket.fileno(): one for one in opened}
        poll = select.epoll()
        stack.callback(poll.close)
        for one in opened:
            stack.callback(one.socket.close)
            poll.register(one.socket, select.EPOLLIN)
        began = time.perf_counter()
        sent = 0
        seconds: list[float] = []
        while len(seconds) < requests:
            now = time.perf_counter()
            if sent < requests and now >= (due := began + sent / per_second):
                opened[sent % connections].send(due)
                sent += 1
            for file, _ in poll.poll(0):
                for due in by_file[file].ended():
                    seconds.append(time.perf_counter() - due)
            if now > began + requests / per_second + _TIMEOUT_SECONDS:
                raise PlayfuseError("the server", got=f"{len(seconds)} replies", expected=f"{requests} in time")
        rate = requests / (time.perf_counter() - began)
    p50, p99 = np.percentile(seconds, [50, 99]) * 1_000
    windows = max(1, round(requests / per_second / _WINDOW_SECONDS))
    return Evenly(rate, float(p50), float(p99), 1_000 * usual_p99(seconds, windows))


def usual_p99(values: Sequence[float], windows: int) -> float:
    """The 99th percentile of each of so many equal stretches, and of those the median."""
    return float(np.median([np.percentile(window, 99) for window in np.array_split(values, windows)]))
