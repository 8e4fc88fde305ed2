"""Who goes together, in which order; and all at once from many threads."""

from __future__ import annotations

import itertools
import math
import random
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest

from inference.batching import Batcher
from inference.contract.errors import InvalidRequest
from inference.core import Request, Response
from inference.refusals import Cancelled, DeadlineMissed
from tests.support.batching import PATIENCE_SECONDS, Log, Scene, answer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.batching import Answer


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
            in_a_hurry = rng.random() < 0.2
            deadline = time.monotonic() + rng.random() * 1e-2 if in_a_hurry else math.inf
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
