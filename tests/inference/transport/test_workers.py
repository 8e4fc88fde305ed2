from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from inference.transport import workers
from inference.transport.workers import Workers
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 30.0


@pytest.fixture
def pool() -> Iterator[Workers]:
    pool = Workers(threads=2, max_waiting=3)
    yield pool
    pool.shutdown()


def test_calls_run_in_order_of_arrival() -> None:
    pool = Workers(threads=1, max_waiting=100)
    seen: list[int] = []
    for number in range(50):
        pool.submit(seen.append, number)
    pool.shutdown()
    assert seen == list(range(50))


def test_the_callback_comes_once_however_late_it_is_added(pool: Workers) -> None:
    gate = threading.Event()
    calls: list[object] = []
    early = pool.submit(gate.wait, PATIENCE_SECONDS)
    early.add_done_callback(calls.append)
    assert calls == []
    gate.set()
    assert until(lambda: calls == [early], seconds=PATIENCE_SECONDS)
    over = threading.Event()
    late = pool.submit(over.set)
    assert over.wait(PATIENCE_SECONDS)
    assert until(lambda: pool.unfinished == 0, seconds=PATIENCE_SECONDS)
    late.add_done_callback(calls.append)
    assert calls == [early, late]


def test_a_call_that_raises_is_logged_and_its_thread_goes_on(pool: Workers, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise LookupError

    over = threading.Event()
    for _ in range(4):
        pool.submit(fail).add_done_callback(lambda _: over.set())
    assert over.wait(PATIENCE_SECONDS)
    assert until(lambda: pool.unfinished == 0, seconds=PATIENCE_SECONDS)
    assert "a call ended in an exception" in caplog.text


def test_calls_beyond_the_limit_run_at_once_and_know_it(pool: Workers) -> None:
    gate = threading.Event()
    arrivals: list[workers.Arrival] = []

    def accepted() -> None:
        arrivals.append(workers.current())
        assert gate.wait(PATIENCE_SECONDS)

    for _ in range(2):
        pool.submit(accepted)
    assert until(lambda: pool.running == 2, seconds=PATIENCE_SECONDS)
    for _ in range(3):
        pool.submit(accepted)
    assert pool.waiting == 3
    refused: list[workers.Arrival] = []
    for _ in range(5):
        pool.submit(lambda: refused.append(workers.current()))
    assert until(lambda: len(refused) == 5, seconds=PATIENCE_SECONDS)
    assert all(arrival.overloaded for arrival in refused)
    assert pool.unfinished == 5
    gate.set()
    assert until(lambda: len(arrivals) == 5, seconds=PATIENCE_SECONDS)
    assert not any(arrival.overloaded for arrival in arrivals)


def test_a_call_knows_when_it_came_and_others_know_it_is_not_over(pool: Workers) -> None:
    gate = threading.Event()
    before = time.monotonic()
    pool.submit(gate.wait, PATIENCE_SECONDS)
    after = time.monotonic()
    assert not pool.has_unfinished(before_seconds=before)
    assert pool.has_unfinished(before_seconds=after + 1)
    gate.set()
    assert until(lambda: not pool.has_unfinished(before_seconds=after + 1), seconds=PATIENCE_SECONDS)


def test_outside_a_worker_a_call_has_just_arrived() -> None:
    before = time.monotonic()
    arrival = workers.current()
    assert before <= arrival.arrived_seconds <= time.monotonic()
    assert not arrival.overloaded


def test_keywords_are_refused(pool: Workers) -> None:
    with pytest.raises(TypeError, match="base"):
        pool.submit(int, "10", base=2)
