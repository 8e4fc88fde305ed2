"""What every transport keeps, over real connections: one suite, whoever carries the calls."""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from benchmarks.callers import outcomes_while_stopping, packed, wrong_replies
from inference.calls import PLAIN_PUSHBACK_KEY
from inference.client import CallFailed, Client
from inference.contract.errors import PlayfuseError
from inference.contract.features import FEATURE_NAMES
from inference.core import Core, Priority
from inference.engine import Engine
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from inference.server import Server
from inference.services.player_behavior import SERVICE
from inference.settings import Limits, ServerSettings
from tests.support.artifacts import BEHAVIOURS, build_graph, write_artifact
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE_SECONDS = 30.0
ENGINE = Engine.from_bytes(build_graph(len(FEATURE_NAMES), BEHAVIOURS))
LIMITS = Limits(max_message_bytes=256 * 1024, max_queue_rows=1_024, max_batch_rows=1_024)
TRANSPORTS = pytest.mark.parametrize("transport", ["native", "grpcio"])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conformance") / "a"
    write_artifact(folder)
    return folder


def start(artifact: Path, transport: str, **options: Any) -> Server:
    settings = {"port": 0, "metrics_port": 0, "transport": transport, "limits": LIMITS, **options}
    server = Server(artifact, ServerSettings.model_validate(settings))
    server.start()
    return server


class Scene:
    """A server, and a gate before its engine."""

    def __init__(self, artifact: Path, transport: str, patch: pytest.MonkeyPatch, **options: Any) -> None:
        self.open = threading.Event()
        self.open.set()
        self.runs: list[list[Priority]] = []
        predict = Core.predict

        def gated(core: Core, requests: Sequence[Any]) -> list[Any]:
            self.runs.append([request.priority for request in requests])
            assert self.open.wait(PATIENCE_SECONDS)
            if any(request.request_id == "crash" for request in requests):
                msg = "a secret of the server"
                raise RuntimeError(msg)
            return cast("list[Any]", predict(core, requests))

        patch.setattr(Core, "predict", gated)
        self.server = start(artifact, transport, **options)
        self.channel = grpc.insecure_channel(self.server.address, options=[("grpc.enable_retries", 0)])
        self.stub = PlayerBehaviorStub(self.channel)
        self.ask(1)  # the shape is known from here on: native runs it on its own thread
        self.runs.clear()

    def ask(self, rows: int = 1, timeout: float = PATIENCE_SECONDS, **fields: Any) -> pb.PredictResponse:
        reply: pb.PredictResponse = self.send(rows, timeout, **fields).result(PATIENCE_SECONDS)
        return reply

    def send(self, rows: int = 1, timeout: float = PATIENCE_SECONDS, **fields: Any) -> grpc.Future[Any]:
        request = packed(values(rows))
        request.MergeFrom(pb.PredictRequest(**fields))
        return cast("grpc.Future[Any]", self.stub.Predict.future(request, timeout=timeout))

    def hold(self) -> grpc.Future[Any]:
        """A call inside the engine, which stays there until `open` is set."""
        self.open.clear()
        before = len(self.runs)
        first = self.send()
        assert until(lambda: len(self.runs) > before, seconds=PATIENCE_SECONDS)
        return first

    def close(self) -> None:
        self.open.set()
        self.channel.close()
        assert self.server.drain()


@pytest.fixture(params=["native", "grpcio"])
def scene(artifact: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(artifact, request.param, monkeypatch)
    yield scene
    scene.close()


def values(rows: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).exponential(3.0, (rows, len(FEATURE_NAMES))).astype(np.float32)


def failure(future: grpc.Future[Any]) -> grpc.Call:
    error = future.exception(PATIENCE_SECONDS)
    assert isinstance(error, grpc.RpcError)
    return cast("grpc.Call", error)


def own(reply: pb.PredictResponse) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(reply.values, "<f4").reshape(reply.rows, len(reply.behaviours))


def test_it_says_who_carries_the_calls(scene: Scene) -> None:
    assert scene.server.transport in ("native", "grpcio")


@pytest.mark.parametrize("rows", [1, 64, 1_024])
def test_values_ids_and_what_was_asked_for(scene: Scene, rows: int) -> None:
    for request_id in ("", "r-1", "ß" * 40):
        reply = scene.ask(rows, request_id=request_id, behaviours=["return_24h", "churn_7d"])
        columns = [[behaviour.name for behaviour in BEHAVIOURS].index(name) for name in reply.behaviours]
        assert list(reply.behaviours) == ["return_24h", "churn_7d"]
        assert (reply.request_id, reply.degraded) == (request_id, False)
        np.testing.assert_allclose(own(reply), ENGINE.run(values(rows))[:, columns], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"behaviours": ["nothing"]}, grpc.StatusCode.INVALID_ARGUMENT, "behaviours[0]: got 'nothing'"),
        ({"packed_rows": pb.PackedRows(rows=7)}, grpc.StatusCode.INVALID_ARGUMENT, "packed_rows.values: got"),
        ({"request_id": "x" * 129}, grpc.StatusCode.INVALID_ARGUMENT, "request_id: got 129 bytes"),
        ({"model_name": "nobody"}, grpc.StatusCode.NOT_FOUND, "got model nobody"),
        ({"model_version": "999"}, grpc.StatusCode.NOT_FOUND, "version 999"),
        ({"request_id": "crash"}, grpc.StatusCode.INTERNAL, "internal error; the server's log tells more"),
    ],
)
def test_every_fault_has_its_status(scene: Scene, fields: dict[str, Any], code: grpc.StatusCode, said: str) -> None:
    for _ in range(2):  # known shape or not
        error = failure(scene.send(**fields))
        assert error.code() is code
        assert said in (error.details() or "")
    assert scene.ask().rows == 1


def test_bytes_that_are_no_message(scene: Scene) -> None:
    send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = scene.channel.unary_unary(f"/{SERVICE}/Predict")
    for junk in (b"", b"\xff\xff\xff", b"\n\x05ab", b"\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"):
        error = failure(cast("grpc.Future[Any]", send.future(junk, timeout=PATIENCE_SECONDS)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_unknown_methods_are_unimplemented(scene: Scene) -> None:
    for path in (f"/{SERVICE}/Nothing", "/no.Service/Method", "/x"):
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = scene.channel.unary_unary(path)
        error = failure(cast("grpc.Future[Any]", call.future(b"", timeout=PATIENCE_SECONDS)))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_message_over_the_limit(scene: Scene) -> None:
    error = failure(scene.send(rows=1_024, request_id="x", model_name="y" * 256 * 1024))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert scene.ask().rows == 1


def test_metadata_is_welcome_until_it_is_absurd(scene: Scene) -> None:
    request = packed(values(1))
    assert scene.stub.Predict(request, metadata=(("k", "v" * 4_000),), timeout=PATIENCE_SECONDS).rows == 1
    absurd = scene.stub.Predict.future(request, metadata=(("k", "v" * 200_000),), timeout=PATIENCE_SECONDS)
    assert failure(cast("grpc.Future[Any]", absurd)).code() in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    )
    assert scene.ask().rows == 1


def test_a_faulty_row_is_its_own_callers_trouble(scene: Scene) -> None:
    first = scene.hold()
    bad = packed(np.full((1, len(FEATURE_NAMES)), np.nan, np.float32))
    futures = [scene.send(request_id="a"), scene.stub.Predict.future(bad, timeout=30), scene.send(request_id="b")]
    scene.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    error = failure(cast("grpc.Future[Any]", futures[1]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "got nan" in (error.details() or "")
    for future, name in ((futures[0], "a"), (futures[2], "b")):
        reply = cast("grpc.Future[Any]", future).result(PATIENCE_SECONDS)
        assert reply.request_id == name
        np.testing.assert_allclose(own(reply), ENGINE.run(values(1)), rtol=1e-4, atol=1e-6)


def test_a_deadline_that_passes_while_the_engine_is_busy(scene: Scene) -> None:
    first = scene.hold()
    late = scene.send(timeout=0.05)
    assert failure(late).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    scene.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    assert scene.ask().rows == 1


def test_a_cancelled_call_harms_nobody(scene: Scene) -> None:
    first = scene.hold()
    unwanted, wanted = scene.send(request_id="no"), scene.send(request_id="yes")
    unwanted.cancel()
    scene.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    assert wanted.result(PATIENCE_SECONDS).request_id == "yes"


def test_a_full_queue_pushes_back_and_the_accepted_are_answered(scene: Scene) -> None:
    """Eight times what may wait, at once."""
    first = scene.hold()
    futures = [scene.send(rows=256, request_id=str(number)) for number in range(36)]
    # Let the server see them all before the engine goes on: refusals come at once where a thread is free to tell them.
    scene.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    answered = refused = 0
    for number, future in enumerate(futures):
        error = future.exception(PATIENCE_SECONDS)
        if error is None:
            assert future.result().request_id == str(number)
            answered += 1
        else:
            call = cast("grpc.Call", error)
            assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert int(dict(call.trailing_metadata() or ())[PLAIN_PUSHBACK_KEY]) >= 1
            refused += 1
    assert answered + refused == 36
    assert answered >= 4


@TRANSPORTS
def test_callers_hold_back_more_calls_than_a_connection_may_have(
    artifact: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(artifact, transport, monkeypatch, limits=Limits(max_calls_per_connection=3))
    futures = [scene.hold(), *(scene.send(request_id=str(number)) for number in range(12))]
    scene.open.set()
    assert [future.result(PATIENCE_SECONDS).rows for future in futures] == [1] * 13
    assert max(map(len, scene.runs)) <= 3
    assert len(scene.runs) >= 5
    scene.close()


@pytest.mark.parametrize("priority", [*pb.Priority.values()])
def test_every_priority_is_accepted(scene: Scene, priority: int) -> None:
    assert scene.ask(priority=priority).rows == 1
    assert scene.runs[-1] == [Priority(max(0, priority - 1))]


def test_an_unknown_priority_is_refused(scene: Scene) -> None:
    assert failure(scene.send(priority=77)).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_health_reflection_and_the_description_are_there(scene: Scene) -> None:
    health = health_pb2_grpc.HealthStub(scene.channel)
    status = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_SECONDS).status
    assert status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    assert SERVICE in ProtoReflectionDescriptorDatabase(scene.channel).get_services()
    described = scene.stub.DescribeModel(pb.DescribeModelRequest(), timeout=PATIENCE_SECONDS)
    assert list(described.features) == list(FEATURE_NAMES)


@TRANSPORTS
def test_nothing_is_left_on_disk_by_a_server_that_is_killed(
    artifact: Path, transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = start(artifact, transport)
    with grpc.insecure_channel(server.address) as channel:
        described = PlayerBehaviorStub(channel).DescribeModel(pb.DescribeModelRequest(), timeout=PATIENCE_SECONDS)
    assert list(described.features) == list(FEATURE_NAMES)
    assert list(tmp_path.iterdir()) == []  # while it runs, so that nothing depends on how it ends
    assert server.drain()


@TRANSPORTS
def test_ten_thousand_mixed_replies_are_their_own(artifact: Path, transport: str) -> None:
    server = start(artifact, transport, limits=Limits())
    with ThreadPoolExecutor(3) as pool:
        wrong = [pool.submit(wrong_replies, server.address, ENGINE, requests=3_334, threads=12) for _ in range(3)]
        assert [future.result() for future in wrong] == [0, 0, 0]
    assert server.drain()


@TRANSPORTS
def test_draining_loses_no_call(artifact: Path, transport: str) -> None:
    server = start(artifact, transport)
    ended, code = outcomes_while_stopping(
        server.address, len(FEATURE_NAMES), lambda: 0 if server.drain() else 1, threads=12, answers_before=400
    )
    assert set(ended) == {"OK", "UNAVAILABLE"}
    assert (ended["UNAVAILABLE"], code) == (12, 0)


@TRANSPORTS
def test_draining_waits_for_the_engine(artifact: Path, transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(artifact, transport, monkeypatch)
    first = scene.hold()
    drained = ThreadPoolExecutor(1).submit(scene.server.drain)
    health = health_pb2_grpc.HealthStub(scene.channel)

    def said() -> int:
        reply = health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS)
        return int(reply.status)

    assert until(lambda: said() == health_pb2.HealthCheckResponse.NOT_SERVING, seconds=PATIENCE_SECONDS)
    assert not first.done()
    scene.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    assert drained.result(PATIENCE_SECONDS)
    scene.channel.close()


@TRANSPORTS
def test_taken_ports_and_ipv6(artifact: Path, transport: str) -> None:
    server = start(artifact, transport, host="::1")
    with grpc.insecure_channel(server.address) as channel:
        assert PlayerBehaviorStub(channel).Predict(packed(values(2)), timeout=PATIENCE_SECONDS).rows == 2
    with pytest.raises(PlayfuseError, match="name another port with --port"):
        start(artifact, transport, host="::1", port=server.port)
    assert server.drain()


@TRANSPORTS
def test_the_client_names_priority_model_and_key(artifact: Path, transport: str) -> None:
    server = start(artifact, transport)
    with Client(server.address, timeout_seconds=PATIENCE_SECONDS) as client:
        for priority in Priority:
            answer = client.predict(
                rows=values(1), priority=priority, model_name="testnet", model_version="1", routing_key="k"
            )
            np.testing.assert_allclose(answer.values, ENGINE.run(values(1)), rtol=1e-4, atol=1e-6)
        with pytest.raises(CallFailed, match="NOT_FOUND"):
            client.predict(rows=values(1), model_name="nobody")
    assert server.drain()
