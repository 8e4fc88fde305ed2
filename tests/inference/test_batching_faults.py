"""Whatever fails, in the engine or in a calling thread, harms its own caller only."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from inference.batching import Batcher, _Job
from inference.contract.errors import InvalidRequest
from inference.core import Priority, Request, Response
from inference.refusals import DeadlineMissed
from tests.support.batching import PATIENCE_SECONDS, Log, Scene, answer_of
from tests.support.memory import objects_of, without_collector
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.batching import Answer


def test_a_fault_and_a_crash_reach_their_own_caller_only(scene: Scene) -> None:
    scene.hold()
    names = ["good-1", "faulty", "crash-1", "good-2", "crash-2"]
    futures = {name: scene.queue(name) for name in names}
    scene.gate.open.set()
    assert answer_of(futures["good-1"]) == "good-1"
    assert answer_of(futures["good-2"]) == "good-2"
    with pytest.raises(InvalidRequest, match="got faulty"):
        futures["faulty"].result(PATIENCE_SECONDS)
    for name in ("crash-1", "crash-2"):
        with pytest.raises(ValueError, match=name):
            futures[name].result(PATIENCE_SECONDS)


def test_a_wish_that_cannot_be_read_is_its_own_callers_trouble(scene: Scene) -> None:
    scene.hold()

    def unreadable() -> bool:
        raise LookupError

    futures = [scene.queue("a", is_wanted=unreadable), scene.queue("b")]
    scene.gate.open.set()
    with pytest.raises(LookupError):
        futures[0].result(PATIENCE_SECONDS)
    assert answer_of(futures[1]) == "b"


def test_a_crash_when_idle_frees_the_engine(scene: Scene) -> None:
    scene.gate.open.set()
    with pytest.raises(ValueError, match="crash"):
        scene.batcher.submit(Request(b"", 1, request_id="crash"))
    scene.gate.inside = 0
    assert scene.batcher.submit(Request(b"after", 1)).values == b"after"


def test_a_request_without_an_answer_is_not_kept(scene: Scene) -> None:
    """An exception knows the frames it went through, and they the request: in a circle both would stay."""
    with without_collector():
        scene.hold()
        with pytest.raises(DeadlineMissed):
            scene.batcher.submit(Request(b"late", 1), deadline_seconds=time.monotonic() + 0.01)
        scene.gate.open.set()
        with pytest.raises(ValueError, match="crash"):
            scene.batcher.submit(Request(b"", 1, request_id="crash"))
        assert until(lambda: objects_of(_Job) == 0, seconds=PATIENCE_SECONDS)


def test_a_follower_that_leaves_with_its_fault_before_it_is_woken_harms_no_leader(scene: Scene) -> None:
    """Its deadline passes just when its answer is there: it finds it and goes, before the leader gets to wake it."""
    left = threading.Event()

    class Slow(Log):
        def batch(self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float) -> None:
            if len(answers) == 2:
                assert left.wait(PATIENCE_SECONDS)

    batcher = Batcher(scene.gate.predict, max_batch_rows=8, max_queue_rows=8, observer=Slow())
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.submit, Request(b"first", 1))
        assert scene.gate.entered.acquire(timeout=PATIENCE_SECONDS)
        leader = pool.submit(batcher.submit, Request(b"leader", 1, priority=Priority.LIVE_MATCH))
        assert until(lambda: batcher.waiting_rows == 1, seconds=PATIENCE_SECONDS)
        faulty = Request(b"", 1, request_id="faulty", priority=Priority.ANALYTICS)
        follower = pool.submit(batcher.submit, faulty, deadline_seconds=time.monotonic() + 1.0)
        follower.add_done_callback(lambda _: left.set())
        assert until(lambda: batcher.waiting_rows == 2, seconds=PATIENCE_SECONDS)
        scene.gate.open.set()
        with pytest.raises(InvalidRequest):
            follower.result(PATIENCE_SECONDS)
        assert [answer_of(first), answer_of(leader)] == ["first", "leader"]


def test_a_leader_whose_thread_is_stopped_wedges_nobody() -> None:
    entered, may_die = threading.Event(), threading.Event()

    def predict(requests: Sequence[Request]) -> list[Answer]:
        if requests[0].request_id == "doomed":
            entered.set()
            assert may_die.wait(PATIENCE_SECONDS)
            raise SystemExit
        return [Response(request, request.values) for request in requests]

    batcher = Batcher(predict, max_batch_rows=8, max_queue_rows=8, observer=Log())
    with ThreadPoolExecutor(4) as pool:
        doomed = pool.submit(batcher.submit, Request(b"", 1, request_id="doomed"))
        assert entered.wait(PATIENCE_SECONDS)
        others = [pool.submit(batcher.submit, Request(str(i).encode(), 1)) for i in range(3)]
        assert until(lambda: batcher.waiting_rows == 3, seconds=PATIENCE_SECONDS)
        may_die.set()
        with pytest.raises(SystemExit):
            doomed.result(PATIENCE_SECONDS)
        assert [answer_of(other) for other in others] == ["0", "1", "2"]


class Interrupted(BaseException):
    """What a signal handler may raise in the main thread."""


def test_a_follower_that_is_interrupted_wedges_nobody(scene: Scene) -> None:
    main = threading.main_thread()
    main_id = main.ident
    assert main_id is not None
    assert main is threading.current_thread(), "signals are handled in the main thread only"

    def interrupt(*_: object) -> None:
        raise Interrupted

    def interrupt_when_waiting() -> None:
        assert until(lambda: scene.batcher.waiting_rows == 1, seconds=PATIENCE_SECONDS)
        signal.pthread_kill(main_id, signal.SIGUSR1)

    first = scene.hold()
    before = signal.signal(signal.SIGUSR1, interrupt)
    interrupter = threading.Thread(target=interrupt_when_waiting)
    interrupter.start()
    try:
        with pytest.raises(Interrupted):
            scene.batcher.submit(Request(b"", 1, request_id="interrupted"))
    finally:
        signal.signal(signal.SIGUSR1, before)
        interrupter.join()
    assert scene.batcher.waiting_rows == 0
    scene.gate.open.set()
    assert answer_of(first) == "first"
    assert scene.batcher.submit(Request(b"after", 1)).values == b"after"
    assert scene.gate.batches == [["first"], [""]]
