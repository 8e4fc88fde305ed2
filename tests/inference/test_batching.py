"""Threads meet at gates, never at guessed times: an engine that a test opens by hand decides who waits for whom."""

from __future__ import annotations

import itertools
import math
import random
import signal
import struct
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from inference.batching import Batcher
from inference.contract.errors import InvalidRequest
from inference.core import Request, Response
from inference.refusals import Cancelled, Closed, DeadlineMissed, QueueFull
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inference.batching import Answer

PATIENCE_SECONDS = 30.0


class Log:
    """Remembers every run."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, list[float]]] = []

    def batch(self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float) -> None:
        assert run_seconds >= 0
        self.runs.append((len(answers), list(waited_seconds)))


class Gate:
    """An engine that answers each request with its own values, once it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.inside = 0

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        self.inside += 1
        assert self.inside == 1, "two threads in the engine at once"
        self.batches.append([request.request_id for request in requests])
        self.entered.release()
        assert self.open.wait(PATIENCE_SECONDS)
        self.inside -= 1
        answers: list[Answer] = []
        for request in requests:
            if request.request_id.startswith("faulty"):
                answers.append(InvalidRequest("values", got=request.request_id, expected="something else"))
            elif request.request_id.startswith("crash"):
                raise ValueError(request.request_id)
            else:
                answers.append(Response(request, request.values))
        return answers


class Scene:
    """A batcher whose engine is held by a first request, and callers that queue up behind it."""

    def __init__(self, **options: Any) -> None:
        self.gate = Gate()
        self.log = Log()
        self.batcher = Batcher(
            self.gate.predict, **{"max_batch_rows": 8, "max_queue_rows": 100, **options}, observer=self.log
        )
        self._pool = ThreadPoolExecutor(32)

    def hold(self) -> Future[Response]:
        first = self.call("first")
        assert self.gate.entered.acquire(timeout=PATIENCE_SECONDS)
        return first

    def call(self, name: str, rows: int = 1, **options: object) -> Future[Response]:
        return self._pool.submit(
            self.batcher.submit,
            Request(name.encode(), rows, request_id=name),
            **options,  # type: ignore[arg-type]
        )

    def queue(self, name: str, rows: int = 1, **options: object) -> Future[Response]:
        """Call, and wait until it waits."""
        before = self.batcher.waiting_rows
        future = self.call(name, rows, **options)
        assert until(lambda: self.batcher.waiting_rows == before + rows, seconds=PATIENCE_SECONDS)
        return future

    def close(self) -> None:
        self.gate.open.set()
        self._pool.shutdown()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def answer_of(future: Future[Response]) -> str:
    return future.result(PATIENCE_SECONDS).values.decode()


def test_an_idle_engine_runs_a_request_at_once_and_alone(scene: Scene) -> None:
    scene.gate.open.set()
    response = scene.batcher.submit(Request(b"a", 1))
    assert response.values == b"a"
    ((answers, waited),) = scene.log.runs
    assert answers == 1
    assert waited[0] < PATIENCE_SECONDS


def test_what_arrives_meanwhile_goes_together_in_the_next_run(scene: Scene) -> None:
    first = scene.hold()
    names = [f"n{i}" for i in range(6)]
    futures = [scene.queue(name) for name in names]
    assert scene.batcher.waiting_rows == 6
    scene.gate.open.set()
    assert answer_of(first) == "first"
    assert [answer_of(future) for future in futures] == names
    assert scene.gate.batches == [["first"], names]
    assert scene.batcher.waiting_rows == 0


def test_the_earliest_deadline_goes_first_and_a_batch_is_bounded() -> None:
    scene = Scene(max_batch_rows=4)
    scene.hold()
    far = time.monotonic() + 1_000
    order = {"late": 40, "none": math.inf, "soon": 10, "middle": 20, "big": 30}
    futures = {
        name: scene.queue(name, rows=3 if name == "big" else 1, deadline_seconds=far + offset)
        for name, offset in order.items()
    }
    scene.close()
    for name, future in futures.items():
        assert answer_of(future) == name
    # `big` does not fit after soon and middle; it is not overtaken by the small ones behind it.
    assert scene.gate.batches == [["first"], ["soon", "middle"], ["big", "late"], ["none"]]


def test_equal_deadlines_go_in_order_of_arrival(scene: Scene) -> None:
    scene.hold()
    futures = [scene.queue(f"n{i}", rows=4) for i in range(4)]
    scene.gate.open.set()
    for future in futures:
        future.result(PATIENCE_SECONDS)
    assert scene.gate.batches == [["first"], ["n0", "n1"], ["n2", "n3"]]


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


def test_who_leaves_while_the_run_is_on_still_gets_one_answer_only(scene: Scene) -> None:
    first = scene.hold()
    hurried = scene.queue("hurried", deadline_seconds=time.monotonic() + 3)
    leader = scene.queue("leader", deadline_seconds=time.monotonic() + 2)
    scene.gate.open.set()
    first.result(PATIENCE_SECONDS)
    assert {answer_of(hurried), answer_of(leader)} == {"hurried", "leader"}


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


def test_a_leader_waits_for_nobody_who_is_not_ready() -> None:
    """`others_are_coming` may be wrong for ever; the leader still goes on."""
    batcher = Batcher(
        lambda requests: [Response(request, request.values) for request in requests],
        max_batch_rows=8,
        max_queue_rows=8,
        observer=Log(),
        others_are_coming=lambda: True,
    )
    assert batcher.submit(Request(b"a", 1)).values == b"a"


@pytest.mark.parametrize("others", [False, True])
def test_every_one_of_many_threads_gets_its_own_answers(others: bool) -> None:
    """Forty thousand calls from 32 threads, each with its own values, some faulty, some cancelled, some impatient."""
    in_engine = threading.Lock()

    def predict(requests: Sequence[Request]) -> list[Answer]:
        assert in_engine.acquire(blocking=False), "two threads in the engine at once"
        try:
            assert sum(request.rows for request in requests) <= 64
            return [
                InvalidRequest("values", got=request.request_id, expected="")
                if request.request_id
                else Response(request, request.values[::-1])
                for request in requests
            ]
        finally:
            in_engine.release()

    log = Log()
    batcher = Batcher(predict, max_batch_rows=64, max_queue_rows=10_000, observer=log, others_are_coming=lambda: others)
    outcomes: list[tuple[int, int]] = []

    def work(thread: int) -> None:
        rng = random.Random(thread)
        done = refused = 0
        for number in range(1_250):
            mine = struct.pack("<II", thread, number)
            kind = rng.random()
            wanted: Callable[[], bool] | None = (lambda: False) if kind < 0.05 else None
            deadline = time.monotonic() + rng.random() * 1e-3 if kind > 0.95 else math.inf
            request_id = f"{thread}-{number}" if 0.5 < kind < 0.55 else ""
            told: str | None = None
            request = Request(mine, rng.randint(1, 64), request_id=request_id)
            try:
                response = batcher.submit(request, deadline_seconds=deadline, is_wanted=wanted)
            except (Cancelled, DeadlineMissed):
                refused += 1
            except InvalidRequest as error:
                told = error.got
                done += 1
            else:
                assert response.values == mine[::-1]
                assert response.request is request
                told = ""
                done += 1
            assert told in (request_id, None)
        outcomes.append((done, refused))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 32
    assert sum(itertools.chain.from_iterable(outcomes)) == 40_000
    # Everything that was answered was in exactly one run.
    assert sum(answers for answers, _ in log.runs) >= sum(done for done, _ in outcomes)
    assert batcher.waiting_rows == 0
    assert batcher.close(PATIENCE_SECONDS)
