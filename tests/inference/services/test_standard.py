from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from inference.services.standard import HEALTH_SERVICE, REFLECTION_SERVICE, StandardServices
from tests.support.reflection import open_streams
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 30.0
SERVICE = "playfuse.v1.PlayerBehavior"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def standard() -> Iterator[tuple[StandardServices, grpc.Channel]]:
    standard = StandardServices(SERVICE)
    # One thread for calls, and nothing in these tests may need it.
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool)
    standard.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield standard, channel
    server.stop(None).wait()
    standard.close()
    pool.shutdown()


def check(channel: grpc.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    status: int = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_SECONDS).status
    return status


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_follows_the_server(standard: tuple[StandardServices, grpc.Channel], service: str) -> None:
    services, channel = standard
    assert check(channel, service) == NOT_SERVING
    services.serving()
    assert check(channel, service) == SERVING
    services.shutting_down()
    assert check(channel, service) == NOT_SERVING
    services.serving()
    assert check(channel, service) == NOT_SERVING, "shutting down is for good"


def test_an_unknown_service_is_not_found(standard: tuple[StandardServices, grpc.Channel]) -> None:
    with pytest.raises(grpc.RpcError) as error:
        check(standard[1], "nothing")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_watchers_hear_of_changes_and_many_of_them_block_no_check(
    standard: tuple[StandardServices, grpc.Channel],
) -> None:
    services, channel = standard
    stub = health_pb2_grpc.HealthStub(channel)
    watches = [stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_SECONDS) for _ in range(20)]
    assert {next(watch).status for watch in watches} == {NOT_SERVING}
    services.serving()
    assert {next(watch).status for watch in watches} == {SERVING}
    assert check(channel, "") == SERVING
    for watch in watches:
        watch.cancel()


def test_reflection_lists_and_describes_the_services(standard: tuple[StandardServices, grpc.Channel]) -> None:
    database = ProtoReflectionDescriptorDatabase(standard[1])
    assert set(database.get_services()) == {SERVICE, HEALTH_SERVICE, REFLECTION_SERVICE}
    predict = DescriptorPool(database).FindServiceByName(SERVICE).methods_by_name["Predict"]
    assert predict.input_type.full_name == "playfuse.v1.PredictRequest"


def test_open_reflection_streams_block_no_check_and_no_other_stream(
    standard: tuple[StandardServices, grpc.Channel],
) -> None:
    services, channel = standard
    services.serving()
    with open_streams(channel, 15, seconds=PATIENCE_SECONDS) as streams:
        for stream in streams:
            assert next(stream).HasField("list_services_response")
        assert check(channel, "") == SERVING
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_reflection_streams_beyond_a_few_are_refused_and_use_up_no_calls() -> None:
    standard = StandardServices(SERVICE)
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool, maximum_concurrent_rpcs=40)
    standard.add_to(server)
    standard.serving()
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        with open_streams(channel, 16, seconds=PATIENCE_SECONDS) as streams:
            assert until(lambda: standard._reflection._pool.unfinished == 16, seconds=PATIENCE_SECONDS)
            for _ in range(3):
                with open_streams(channel, 30, seconds=PATIENCE_SECONDS) as more:
                    for stream in more:
                        with pytest.raises(grpc.RpcError) as refused:
                            next(stream)
                        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                        assert "reflection: got a stream beside 16 open ones" in str(refused.value.details())
                assert check(channel, "") == SERVING
        for stream in streams:  # those that were let in all get their answer, and make room
            assert next(stream).HasField("list_services_response")
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()
    server.stop(None).wait()
    standard.close()
    pool.shutdown()
