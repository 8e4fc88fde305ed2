"""Callers that begin a call and never send its message: for a while they cost others their time, not their answer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference.client import Client
from inference.contract.features import FEATURE_NAMES
from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inference.server import Server

CALLS = 10
"""More than there are threads for any method."""
METHODS = (
    "/playfuse.v1.PlayerBehavior/Predict",
    "/playfuse.v1.PlayerBehavior/DescribeModel",
    "/grpc.health.v1.Health/Check",
)
PATIENCE_SECONDS = 60.0


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_they_are_ended_and_everybody_else_is_answered(tmp_path: Path, transport: str) -> None:
    silent = threading.Event()

    def nothing() -> Iterator[bytes]:
        silent.wait()
        yield from ()

    options = [("grpc.use_local_subchannel_pool", 1)]
    with served(tmp_path, transport=transport) as server, grpc.insecure_channel(server.address, options) as channel:
        methods: list[grpc.StreamUnaryMultiCallable[bytes, bytes]] = [channel.stream_unary(one) for one in METHODS]
        calls = [method.future(nothing()) for method in methods for _ in range(CALLS)]
        try:
            assert_all_is_well(server)
        finally:
            silent.set()
            for call in calls:
                call.cancel()


def assert_all_is_well(server: Server) -> None:
    with Client(server.address, timeout_seconds=PATIENCE_SECONDS) as client:
        assert client.predict(rows=[[1.0] * len(FEATURE_NAMES)]).values.shape == (1, 8)
        assert client.describe().model_name == "testnet"
    with grpc.insecure_channel(server.address) as channel:
        probe = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
    assert probe.status == health_pb2.HealthCheckResponse.SERVING
