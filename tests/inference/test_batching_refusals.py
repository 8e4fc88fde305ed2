"""Who is not computed: a full queue, a deadline, a caller that has gone, a batcher that closes."""

from __future__ import annotations

import time

import pytest

from inference.core import Request
from inference.refusals import Cancelled, Closed, DeadlineMissed, QueueFull
from tests.support.batching import PATIENCE_SECONDS, Scene, answer_of
from tests.support.waiting import until


def test_a_full_queue_refuses_and_says_when_to_try_again() -> None:
    scene = Scene(max_queue_rows=10)
    scene.hold()
    waiting = scene.queue("waiting", rows=8)
    with pytest.raises(QueueFull, match="8 players wait already, of at most 10") as refusal:
        scene.batcher.submit(Request(b"", 3))
    assert refusal.value.retry_after_ms >= 1
    fits = scene.queue("fits", rows=2)
    scene.close()
    assert answer_of(waiting) == "waiting"
    assert answer_of(fits) == "fits"


def test_a_deadline_that_has_passed_is_refused_even_when_idle(scene: Scene) -> None:
    with pytest.raises(DeadlineMissed, match="on arrival"):
        scene.batcher.submit(Request(b"", 1), deadline_seconds=time.monotonic() - 1)
    assert scene.gate.batches == []


def test_a_deadline_that_cannot_be_met_is_refused_at_once(scene: Scene) -> None:
    # Let a first run last long enough for the mean to be known, then hold the engine with a second.
    slow = scene.hold()
    began = time.monotonic()
    assert until(lambda: time.monotonic() > began + 0.2, seconds=PATIENCE_SECONDS)
    scene.gate.open.set()
    slow.result(PATIENCE_SECONDS)
    assert until(lambda: bool(scene.log.runs), seconds=PATIENCE_SECONDS)
    scene.gate.open.clear()
    scene.hold()
    # The mean after one run of ≥ 200 ms is ≥ 20 ms, so two runs are expected to take ≥ 40 ms.
    with pytest.raises(DeadlineMissed, match="after the deadline"):
        scene.batcher.submit(Request(b"", 1), deadline_seconds=time.monotonic() + 0.03)
    assert scene.batcher.waiting_rows == 0


def test_who_waits_past_the_deadline_leaves_and_is_never_computed(scene: Scene) -> None:
    first = scene.hold()
    hurried = scene.queue("hurried", deadline_seconds=time.monotonic() + 0.05)
    patient = scene.queue("patient")
    with pytest.raises(DeadlineMissed, match="while the request waited"):
        hurried.result(PATIENCE_SECONDS)
    assert scene.batcher.waiting_rows == 1
    scene.gate.open.set()
    assert (answer_of(first), answer_of(patient)) == ("first", "patient")
    assert scene.gate.batches == [["first"], ["patient"]]


def test_who_leaves_while_the_run_is_on_is_told_once_and_harms_nobody() -> None:
    scene: Scene

    def hurried_waits() -> bool:
        """Asked by the first leader before it takes along what waits."""
        return until(lambda: scene.batcher.waiting_rows == 1, seconds=PATIENCE_SECONDS)

    scene = Scene(others_are_coming=hurried_waits)
    leader = scene.call("leader")
    assert until(lambda: leader.running(), seconds=PATIENCE_SECONDS)
    hurried = scene.call("hurried", deadline_seconds=time.monotonic() + 2.0)
    assert scene.gate.entered.acquire(timeout=PATIENCE_SECONDS)
    assert scene.gate.batches == [["leader", "hurried"]]
    with pytest.raises(DeadlineMissed, match="while the request waited"):
        hurried.result(PATIENCE_SECONDS)
    scene.close()
    assert answer_of(leader) == "leader"
    assert [answers for answers, _ in scene.log.runs] == [1], "who was told otherwise is not counted as answered"
    assert scene.batcher.waiting_rows == 0
    assert scene.batcher.close(0.0)


def test_cancelled_calls_are_dropped_before_the_run(scene: Scene) -> None:
    first = scene.hold()
    wanted = {"a": True, "b": True, "c": True}
    futures = {name: scene.queue(name, is_wanted=lambda name=name: wanted[name]) for name in wanted}
    wanted["a"] = wanted["c"] = False
    scene.gate.open.set()
    first.result(PATIENCE_SECONDS)
    assert answer_of(futures["b"]) == "b"
    for name in ("a", "c"):
        with pytest.raises(Cancelled):
            futures[name].result(PATIENCE_SECONDS)
    assert scene.gate.batches == [["first"], ["b"]]


def test_a_batch_that_nobody_wants_any_more_is_not_run(scene: Scene) -> None:
    scene.hold()
    future = scene.queue("a", is_wanted=lambda: False)
    scene.gate.open.set()
    with pytest.raises(Cancelled):
        future.result(PATIENCE_SECONDS)
    assert scene.gate.batches == [["first"]]
    assert scene.batcher.submit(Request(b"after", 1)).values == b"after"


def test_close_refuses_new_requests_and_waits_for_the_old(scene: Scene) -> None:
    first = scene.hold()
    waiting = scene.queue("waiting")
    assert scene.batcher.close(0.0) is False
    with pytest.raises(Closed, match="shutting down"):
        scene.batcher.submit(Request(b"", 1))
    scene.gate.open.set()
    assert scene.batcher.close(PATIENCE_SECONDS) is True
    assert (answer_of(first), answer_of(waiting)) == ("first", "waiting")


def test_an_idle_batcher_closes_at_once(scene: Scene) -> None:
    assert scene.batcher.close(0.0) is True
