"""A request prepared once as bytes, and a plain client that sends it once and gives the reply."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

import grpc

from benchmarks.h2load import framed
from inference.contract.errors import PlayfuseError

_TIMEOUT_SECONDS = 10.0
_GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")


@dataclass(frozen=True, slots=True)
class Call:
    """One prepared request.

    Attributes:
        path: of the method or the route.
        message: without the frame that gRPC puts around it.
        grpc: otherwise a POST.
        http2: under load; otherwise HTTP/1.1.
        content_type: of a POST.
    """

    path: str
    message: bytes
    grpc: bool = True
    http2: bool = True
    content_type: str = "application/octet-stream"

    @property
    def body(self) -> bytes:
        """What goes over the wire."""
        return framed(self.message) if self.grpc else self.message

    @property
    def headers(self) -> tuple[str, ...]:
        """As h2load takes them."""
        return _GRPC_HEADERS if self.grpc else (f"content-type: {self.content_type}",)

    def reply_bytes(self, reply: bytes) -> int:
        """Size of a reply's body on the wire."""
        return len(framed(reply)) if self.grpc else len(reply)


def ask(port: int, call: Call) -> bytes:
    """Send it once to 127.0.0.1; the message that comes back.

    Raises:
        grpc.RpcError, OSError, http.client.HTTPException: nobody answered.
        PlayfuseError: the HTTP status is not 200.
    """
    if call.grpc:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call.path)
            return method(call.message, timeout=_TIMEOUT_SECONDS)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("POST", call.path, call.message, {"content-type": call.content_type})
        reply = connection.getresponse()
        content = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise PlayfuseError(call.path, got=f"HTTP {reply.status}: {content[:200]!r}", expected="200")
    return content
