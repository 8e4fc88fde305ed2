"""Bursts over a front in memory: what comes when, and in which order it is run, is the test's to say.

The conformance suite has the same code behind the real front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from inference.calls import PLAIN_PUSHBACK_KEY, Answering, name_of
from inference.core import Priority, Request
from inference.metrics import CallMetrics
from inference.models import OneModel, ServedModel
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.services.player_behavior import Predict
from inference.settings import Limits
from inference.transport.bursts import MAX_EVENTS, Bursts, _Job
from inference.transport.front import CALL
from inference.transport.workers import Workers
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest
from tests.support.memory import objects_of, without_collector
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from inference.batching import Answer
    from inference.transport.front import Event

FEATURES = ("a", "b")
LIMITS = Limits(max_rows_per_request=4, max_batch_rows=4, max_queue_rows=8)
MANIFEST = make_manifest(build_graph(len(FEATURES), BEHAVIOURS), FEATURES, BEHAVIOURS)
GONE = CALL + 1


class Front:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.replies: dict[int, pb.PredictResponse] = {}
        self.failures: dict[int, tuple[grpc.StatusCode, str, dict[str, Any]]] = {}

    def respond(self, call_id: int, payload: bytes) -> bool:
        assert call_id not in {*self.replies, *self.failures}, "answered twice"
        self.replies[call_id] = pb.PredictResponse.FromString(payload)
        return True

    def fail(
        self, call_id: int, code: int, message: str, trailing_metadata: Sequence[tuple[str, str | bytes]] | None = None
    ) -> bool:
        assert call_id not in {*self.replies, *self.failures}, "answered twice"
        status = next(status for status in grpc.StatusCode if status.value[0] == code)
        self.failures[call_id] = (status, message, dict(trailing_metadata or ()))
        return True

    def codes(self) -> dict[int, grpc.StatusCode]:
        return {call_id: code for call_id, (code, _, _) in self.failures.items()}


class Sums:
    """An engine: every behaviour of a player is the sum of the features. Remembers the rows of every run."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = rows.sum(axis=1)
        self.runs.append([float(value) for value in sums])
        return np.repeat(sums[:, None], len(BEHAVIOURS), axis=1)


class Raising(ServedModel):
    """Fails as a whole on any run with the request `crash`."""

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        if any(request.request_id == "crash" for request in requests):
            msg = "a secret"
            raise RuntimeError(msg)
        return super().predict(requests)


class Scene:
    def __init__(self, models: int = 1, limits: Limits = LIMITS) -> None:
        self.engines = [Sums() for _ in range(models)]
        self.models = [Raising(MANIFEST, engine, limits) for engine in self.engines]
        methods = [Predict(OneModel(model)) for model in self.models]
        for method in methods:  # one known shape for every size and priority
            for rows in (1, 2, 3, 4):
                for priority in Priority:
                    method.decode(self.message(0, rows, priority))
        self.front = Front()
        self.metrics = CallMetrics([name_of(methods[0])])
        self.pool = Workers(1, 16)
        self.bursts = Bursts(self.front, methods, Answering(self.metrics, 10.0), self.pool, limits)

    @staticmethod
    def message(value: float, rows: int, priority: Priority, **fields: Any) -> bytes:
        values = np.full((rows, len(FEATURES)), value / 2, "<f4").tobytes()
        sent = pb.Priority.Name(priority + pb.PRIORITY_LIVE_MATCH)
        packed = pb.PackedRows(rows=rows, values=values)
        return pb.PredictRequest(packed_rows=packed, priority=sent, **fields).SerializeToString()

    def call(
        self,
        call_id: int,
        rows: int = 1,
        priority: Priority = Priority.LIVE_MATCH,
        left_seconds: float | None = None,
        method: int = 0,
        **fields: Any,
    ) -> Event:
        """A call for players whose features add up to its number."""
        message = self.message(call_id, rows, priority, **fields)
        return (CALL, call_id, method, message, None, ((), "ipv4:127.0.0.1:1", left_seconds))

    def gone(self, call_id: int) -> Event:
        return (GONE, call_id, 0, None, None, None)

    def run_all(self) -> None:
        while self.bursts.waiting_rows:
            self.bursts.run_next()

    def assert_own(self, *call_ids: int) -> None:
        for call_id in call_ids:
            reply = self.front.replies[call_id]
            values = np.frombuffer(reply.values, "<f4")
            assert len(values) == reply.rows * len(BEHAVIOURS)
            assert (values == call_id).all()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    assert scene.bursts.unanswered == 0
    scene.pool.shutdown()


def test_a_burst_that_fits_is_one_run(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(1), scene.call(2, rows=2), scene.call(3)])
    assert scene.engines[0].runs == [[1, 2, 2, 3]]
    scene.assert_own(1, 2, 3)


def test_what_does_not_fit_waits_and_all_are_answered(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(number) for number in range(1, 8)])
    assert scene.bursts.waiting_rows == 7
    scene.run_all()
    assert scene.engines[0].runs == [[1, 2, 3, 4], [5, 6, 7]]
    scene.assert_own(*range(1, 8))


def test_a_full_queue_refuses_a_burst_in_one_go_and_counts_everyone(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(number) for number in range(1, 21)])
    assert scene.front.codes() == dict.fromkeys(range(9, 21), grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert all(int(trailing[PLAIN_PUSHBACK_KEY]) >= 1 for _, _, trailing in scene.front.failures.values())
    scene.run_all()
    scene.assert_own(*range(1, 9))
    assert scene.metrics.rejected["queue_full"].value == 12
    assert scene.models[0].metrics.unanswered.value == 12
    assert sum(scene.metrics.request_seconds["Predict", "RESOURCE_EXHAUSTED"].read().counts) == 12
    assert sum(scene.metrics.request_seconds["Predict", "OK"].read().counts) == 8


def test_after_a_stall_the_next_burst_is_answered_again(scene: Scene) -> None:
    """However long runs usually take: who goes into the very next one is let in, and only that one tells better."""
    scene.bursts._mean_run_seconds = 100.0  # a machine that stood still leaves the like of it
    hurried = [scene.call(number, left_seconds=9.0) for number in range(1, 7)]  # four fit into a run
    scene.bursts.take_in(hurried)
    scene.run_all()
    scene.assert_own(1, 2, 3, 4)
    assert scene.front.codes() == dict.fromkeys((5, 6), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert scene.bursts._mean_run_seconds < 100.0


def test_a_smaller_request_still_finds_the_room_that_a_larger_one_does_not(scene: Scene) -> None:
    burst = [scene.call(1, 4), scene.call(2, 3), scene.call(3, 4), scene.call(4, 1), scene.call(5, 4)]
    scene.bursts.take_in(burst)
    assert set(scene.front.failures) == {3, 5}
    scene.run_all()
    scene.assert_own(1, 2, 4)


def test_a_class_that_is_full_keeps_no_other_out(scene: Scene) -> None:
    analytics = [scene.call(number, priority=Priority.ANALYTICS) for number in range(1, 7)]
    scene.bursts.take_in([*analytics, scene.call(7)])
    assert set(scene.front.failures) == {3, 4, 5, 6}
    scene.run_all()
    scene.assert_own(1, 2, 7)


def test_the_more_urgent_overtake(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(number, priority=Priority.PREFETCH, rows=1) for number in range(1, 5)])
    assert scene.engines[0].runs == [[1, 2, 3, 4]]  # nobody else was there
    scene.bursts.take_in([scene.call(number, 2, Priority.PREFETCH) for number in (10, 11, 12)])
    scene.bursts.take_in([scene.call(20, rows=4)])
    scene.bursts.run_next()
    assert scene.engines[0].runs[-1] == [20] * 4
    scene.run_all()
    scene.assert_own(10, 11, 20)
    assert set(scene.front.failures) == {12}  # prefetching may fill half of the queue


def test_whoever_has_gone_is_not_run(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(number) for number in range(1, 7)])
    scene.bursts.take_in([scene.gone(2), scene.gone(99)])
    scene.run_all()
    assert scene.front.codes() == {2: grpc.StatusCode.CANCELLED}
    assert all(2 not in run for run in scene.engines[0].runs)
    scene.assert_own(1, 3, 4, 5, 6)


def test_whoever_has_gone_within_the_burst_is_not_run(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(1), scene.call(2), scene.gone(1)])
    assert scene.engines[0].runs == [[2]]
    assert scene.front.codes() == {1: grpc.StatusCode.CANCELLED}


def test_a_deadline_that_passes_in_the_queue(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(1, 4), scene.call(2, 3, left_seconds=1e-6), scene.call(3, left_seconds=0.0)])
    scene.run_all()
    late = grpc.StatusCode.DEADLINE_EXCEEDED
    assert scene.front.codes() == {2: late, 3: late}
    assert scene.engines[0].runs == [[1] * 4]
    assert scene.metrics.rejected["deadline"].value == 2


@pytest.mark.parametrize("waits", [False, True])
def test_a_model_that_raises_harms_nobody_else(scene: Scene, waits: bool) -> None:
    burst = [scene.call(1), scene.call(2, request_id="crash"), scene.call(3)]
    scene.bursts.take_in([*burst, *([scene.call(4, rows=4)] if waits else [])])
    scene.run_all()
    code, said, _ = scene.front.failures.pop(2)
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in said
    assert not scene.front.failures
    scene.assert_own(1, 3)


def test_a_faulty_row_harms_nobody_else(scene: Scene) -> None:
    bad = scene.call(2)
    message = Scene.message(float("nan"), 1, Priority.LIVE_MATCH)
    scene.bursts.take_in([scene.call(1), (*bad[:3], message, *bad[4:]), scene.call(3)])
    assert scene.front.codes() == {2: grpc.StatusCode.INVALID_ARGUMENT}
    scene.assert_own(1, 3)


def test_several_models_and_methods_in_one_burst() -> None:
    scene = Scene(models=2)
    scene.bursts.take_in([scene.call(1), scene.call(2, method=1), scene.call(3)])
    assert [engine.runs for engine in scene.engines] == [[[1, 3]], [[2]]]
    scene.assert_own(1, 2, 3)
    assert [model.metrics.runs.read().answered for model in scene.models] == [2, 1]
    scene.pool.shutdown()


def test_held_calls_get_no_answer_and_the_accepted_do(scene: Scene) -> None:
    scene.bursts.take_in([scene.call(number) for number in range(1, 7)])
    scene.bursts.hold_new()
    scene.bursts.take_in([scene.call(7), scene.call(8)])
    assert (scene.bursts.held, scene.bursts.unanswered) == (2, 6)
    scene.run_all()
    scene.assert_own(*range(1, 7))
    assert set(scene.front.replies) == set(range(1, 7))


def test_an_unknown_shape_is_answered_aside_and_known_afterwards(scene: Scene) -> None:
    asked = BEHAVIOURS[0].name
    scene.bursts.take_in([scene.call(1, behaviours=[asked]), scene.call(2)])
    scene.assert_own(2)
    assert until(lambda: 1 in scene.front.replies and scene.bursts.unanswered == 0, seconds=30)
    scene.bursts.take_in([scene.call(3, behaviours=[asked])])
    assert list(scene.front.replies[3].behaviours) == [asked]


def test_from_when_there_is_no_room_until_half_is_free_few_are_taken_in() -> None:
    scene = Scene(limits=LIMITS.model_copy(update={"max_queue_rows": 16}))
    assert scene.bursts.max_newcomers == MAX_EVENTS
    scene.bursts.take_in([scene.call(number) for number in range(MAX_EVENTS)])
    full = scene.bursts.waiting_rows
    scene.bursts.run_next()
    few = scene.bursts.max_newcomers
    assert 4 < few < 16  # one run answers four
    scene.bursts.take_in([scene.call(MAX_EVENTS)])  # that was all that had come, but those who were refused come again
    assert scene.bursts.max_newcomers == few
    while 2 * scene.bursts.waiting_rows > full:
        assert scene.bursts.max_newcomers == few
        scene.bursts.run_next()
    assert scene.bursts.waiting_rows
    assert scene.bursts.max_newcomers == MAX_EVENTS
    scene.run_all()
    scene.pool.shutdown()


def test_a_refused_call_is_not_kept(scene: Scene) -> None:
    """Most are refused when there is least to spare; a circle of references would keep each burst for the collector."""
    with without_collector():
        scene.bursts.take_in([scene.call(number) for number in range(MAX_EVENTS)])
        scene.run_all()
        assert set(scene.front.codes().values()) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert objects_of(_Job) == 0
