"""Reflection streams that stay open."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


@contextlib.contextmanager
def open_streams(channel: grpc.Channel, count: int, *, seconds: float) -> Iterator[list[Any]]:
    """So many streams, which ask one question each and then stay silent until the block ends, `seconds` at most."""
    finished = threading.Event()

    def questions() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        assert finished.wait(seconds)

    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    try:
        yield [stub.ServerReflectionInfo(questions(), timeout=seconds) for _ in range(count)]
    finally:
        finished.set()
