"""The service's statuses, over a real connection."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, cast

import grpc
import numpy as np
import pytest

from inference.batching import Batcher
from inference.calls import PUSHBACK_KEY, Answering
from inference.contract.features import FEATURE_NAMES
from inference.core import Request, Response
from inference.metrics import CallMetrics
from inference.models import OneModel, ServedModel
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from inference.services.player_behavior import SERVICE, DescribeModel, Predict
from inference.settings import Limits, ServerSettings
from inference.transport.grpcio import GrpcioTransport
from inference.transport.workers import Workers
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from inference.batching import Answer

PATIENCE_SECONDS = 30.0
FEATURES = FEATURE_NAMES[:4]


class Stage:
    """The service on a real transport, before an engine that a test opens and shuts."""

    def __init__(self, *, threads: int = 4, max_waiting: int = 100, **limits: Any) -> None:
        self.open = threading.Event()
        self.open.set()
        self.runs = 0
        self.limits = Limits(**limits)
        self.manifest = make_manifest(build_graph(len(FEATURES), BEHAVIOURS), FEATURES, BEHAVIOURS)
        self.workers = Workers(threads, max_waiting)
        self.model = Held(self)
        self.batcher = self.model.batcher
        models = OneModel(self.model)
        methods, scoring = [DescribeModel(models, self.limits)], [Predict(models)]
        self.metrics = CallMetrics(["Predict", "DescribeModel"])
        answering = Answering(self.metrics, self.limits.max_wait_seconds)
        settings = ServerSettings(threads=threads, limits=self.limits)
        self.transport = GrpcioTransport(methods, scoring, answering, self.workers, settings)
        port = self.transport.bind("127.0.0.1:0")
        self.transport.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_retries", 0)])
        self.stub = PlayerBehaviorStub(self.channel)

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        self.runs += 1
        assert self.open.wait(PATIENCE_SECONDS)
        if any(request.request_id == "crash" for request in requests):
            msg = "a secret of the server"
            raise RuntimeError(msg)
        return [Response(request, bytes(request.rows * len(BEHAVIOURS) * 4)) for request in requests]

    def call(self, **options: Any) -> grpc.Future[Any]:
        timeout = options.pop("timeout", PATIENCE_SECONDS)
        return cast("grpc.Future[Any]", self.stub.Predict.future(request(**options), timeout=timeout))

    def close(self) -> None:
        self.open.set()
        self.channel.close()
        self.transport.refuse_held()
        self.transport.server.stop(None).wait()
        self.workers.shutdown()


class Held(ServedModel):
    """A model whose runs a stage holds."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        super().__init__(stage.manifest, NoEngine(), stage.limits)
        self.batcher = Batcher(
            stage.predict,
            max_batch_rows=stage.limits.max_batch_rows,
            max_queue_rows=stage.limits.max_queue_rows,
            observer=self.metrics,
        )

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        return self._stage.predict(requests)


class NoEngine:
    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError


def request(rows: int = 1, **fields: Any) -> pb.PredictRequest:
    values = np.ones((rows, len(FEATURES)), "<f4").tobytes()
    return pb.PredictRequest(packed_rows=pb.PackedRows(rows=rows, values=values), **fields)


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage(**getattr(request, "param", {}))
    yield stage
    stage.close()


def failure(future: grpc.Future[Any]) -> grpc.Call:
    error = future.exception(PATIENCE_SECONDS)
    assert isinstance(error, grpc.RpcError)
    return cast("grpc.Call", error)


def test_an_answer_comes_back_with_its_id(stage: Stage) -> None:
    reply = stage.stub.Predict(request(3, request_id="r"), timeout=PATIENCE_SECONDS)
    assert (reply.request_id, reply.rows, reply.model_name) == ("r", 3, "testnet")
    assert sum(stage.metrics.request_seconds["Predict", "OK"].read().counts) == 1


def test_the_description_tells_what_to_send(stage: Stage) -> None:
    reply = stage.stub.DescribeModel(pb.DescribeModelRequest(), timeout=PATIENCE_SECONDS)
    assert list(reply.features) == list(FEATURES)
    assert [behaviour.name for behaviour in reply.behaviours] == [behaviour.name for behaviour in BEHAVIOURS]
    assert reply.behaviours[1].prior == np.float32(stage.manifest.priors[BEHAVIOURS[1].name])
    assert (reply.behaviours[5].unit, reply.behaviours[5].kind) == ("hours", "regression")
    assert reply.synthetic
    assert reply.max_rows_per_request == stage.limits.max_rows_per_request
    assert sum(stage.metrics.request_seconds["DescribeModel", "OK"].read().counts) == 1


def test_a_faulty_request_is_an_invalid_argument(stage: Stage) -> None:
    error = failure(stage.call(behaviours=["nothing"]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.details() or "").startswith("behaviours[0]: got 'nothing', expected a behaviour of this model")
    assert stage.metrics.rejected["invalid"].value == 1


def test_bytes_that_are_no_message_are_an_invalid_argument(stage: Stage) -> None:
    send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = stage.channel.unary_unary(f"/{SERVICE}/Predict")
    error = failure(cast("grpc.Future[Any]", send.future(b"\xff\xff\xff", timeout=PATIENCE_SECONDS)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "3 bytes that do not parse" in (error.details() or "")


def test_a_fault_of_the_server_tells_nothing_of_its_inside(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    error = failure(stage.call(request_id="crash"))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (error.details() or "")
    assert "a secret of the server" in caplog.text
    assert stage.stub.Predict(request(), timeout=PATIENCE_SECONDS).rows == 1


@pytest.mark.parametrize("stage", [{"max_queue_rows": 4, "max_rows_per_request": 4}], indirect=True)
def test_a_full_queue_pushes_back(stage: Stage) -> None:
    stage.open.clear()
    first = stage.call()
    assert until(lambda: stage.runs == 1, seconds=PATIENCE_SECONDS)
    waiting = stage.call(rows=4)
    assert until(lambda: stage.batcher.waiting_rows == 4, seconds=PATIENCE_SECONDS)
    error = failure(stage.call(rows=1))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    pushback = dict(error.trailing_metadata() or ())[PUSHBACK_KEY]
    assert int(pushback) >= 1
    assert stage.metrics.rejected["queue_full"].value == 1
    stage.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    assert waiting.result(PATIENCE_SECONDS).rows == 4


@pytest.mark.parametrize("stage", [{"threads": 1, "max_waiting": 2}], indirect=True)
def test_too_many_calls_push_back_and_the_accepted_ones_are_answered(stage: Stage) -> None:
    stage.open.clear()
    accepted = [stage.call()]
    assert until(lambda: stage.runs == 1, seconds=PATIENCE_SECONDS)
    accepted += [stage.call(), stage.call()]
    assert until(lambda: stage.workers.waiting == 2, seconds=PATIENCE_SECONDS)
    for _ in range(5):
        error = failure(stage.call())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.trailing_metadata() or ())[PUSHBACK_KEY]) >= 1
    assert stage.metrics.rejected["overloaded"].value == 5
    stage.open.set()
    assert [future.result(PATIENCE_SECONDS).rows for future in accepted] == [1, 1, 1]


def test_a_deadline_that_passes_while_waiting_is_told(stage: Stage) -> None:
    stage.open.clear()
    first = stage.call()
    assert until(lambda: stage.runs == 1, seconds=PATIENCE_SECONDS)
    error = failure(stage.call(timeout=0.05))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert until(lambda: stage.metrics.rejected["deadline"].value == 1, seconds=PATIENCE_SECONDS)
    stage.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    assert stage.runs == 1


@pytest.mark.parametrize("stage", [{"max_wait_seconds": 0.05}], indirect=True)
def test_who_set_no_deadline_does_not_wait_for_ever(stage: Stage) -> None:
    stage.open.clear()
    first = stage.call()
    assert until(lambda: stage.runs == 1, seconds=PATIENCE_SECONDS)
    error = failure(cast("grpc.Future[Any]", stage.stub.Predict.future(request())))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    stage.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1


def test_a_cancelled_call_is_not_computed(stage: Stage) -> None:
    stage.open.clear()
    first = stage.call()
    assert until(lambda: stage.runs == 1, seconds=PATIENCE_SECONDS)
    unwanted = stage.call(rows=2)
    assert until(lambda: stage.batcher.waiting_rows == 2, seconds=PATIENCE_SECONDS)
    unwanted.cancel()
    wanted = stage.call(rows=3)
    assert until(lambda: stage.batcher.waiting_rows == 5, seconds=PATIENCE_SECONDS)
    # A call later on the same connection has been answered: the cancellation before it has been read.
    stage.stub.DescribeModel(pb.DescribeModelRequest(), timeout=PATIENCE_SECONDS)
    stage.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    assert wanted.result(PATIENCE_SECONDS).rows == 3
    assert until(lambda: stage.metrics.rejected["cancelled"].value == 1, seconds=PATIENCE_SECONDS)
    assert stage.model.metrics.batch_rows.read().total == 4


def test_held_calls_are_told_unavailable_and_earlier_ones_are_answered(stage: Stage) -> None:
    stage.open.clear()
    first = stage.call()
    assert until(lambda: stage.runs == 1, seconds=PATIENCE_SECONDS)
    held_from = stage.transport.hold_new()
    held = stage.call()
    assert until(lambda: stage.workers.running == 2, seconds=PATIENCE_SECONDS)
    assert not held.done()
    stage.open.set()
    assert first.result(PATIENCE_SECONDS).rows == 1
    assert until(lambda: not stage.workers.has_unfinished(before_seconds=held_from), seconds=PATIENCE_SECONDS)
    assert not held.done()
    stage.transport.refuse_held()
    error = failure(held)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert error.details() == "the server is shutting down"
    assert time.monotonic() > held_from
    assert stage.runs == 1
