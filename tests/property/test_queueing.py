"""A model of the queue beside the queue: whatever is done to it, nobody is lost, doubled, or left waiting for ever."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inference.core import Priority
from inference.queueing import BOUNDS, MAX_RUNS_WAITED, Entry, Queue
from inference.refusals import QueueFull

MAX_ROWS, MAX_BATCH_ROWS = 40, 16
PRIORITIES = st.sampled_from(list(Priority))
ROWS = st.integers(1, MAX_BATCH_ROWS)


class QueueMachine(RuleBasedStateMachine):
    """Requests come, leave, expire and are taken; `waiting` is what the queue has to hold."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: Queue[int] = Queue(MAX_ROWS, MAX_BATCH_ROWS)
        self.waiting: dict[int, Entry[int]] = {}
        self.answers: dict[int, int] = {}
        self.unserved_runs = dict.fromkeys(Priority, 0)
        self.now = 0.0
        self.number = 0

    @rule(rows=ROWS, priority=PRIORITIES, patience=st.integers(1, 50) | st.just(math.inf))
    def submit(self, rows: int, priority: Priority, patience: float) -> None:
        its = sum(entry.rows for entry in self.waiting.values() if entry.priority is priority)
        bound = int(MAX_ROWS * BOUNDS[priority])
        self.number += 1
        refusal = self.queue.refusal(rows, priority, patience, 0.5)
        if isinstance(refusal, QueueFull):
            assert its
            assert its + rows > bound
        elif refusal is not None:
            assert patience < math.inf
        else:
            assert not its or its + rows <= bound
            self.waiting[self.number] = self.queue.add(self.number, rows, self.now + patience, priority)
        self.answers[self.number] = int(refusal is not None)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.waiting)))
        entry = self.waiting.pop(number)
        self.queue.discard(entry)
        self.queue.discard(entry)  # a second time changes nothing
        self.answers[number] += 1

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        for entry in self.queue.expire(self.now):
            assert entry.deadline_seconds <= self.now
            del self.waiting[entry.item]
            self.answers[entry.item] += 1
        assert all(entry.deadline_seconds > self.now for entry in self.waiting.values())

    @rule(runs=st.integers(1, 3))
    def run(self, runs: int) -> None:
        for _ in range(runs):
            waited = {entry.priority for entry in self.waiting.values()}
            taken = self.queue.take()
            assert bool(taken) == bool(waited)
            assert sum(entry.rows for entry in taken) <= MAX_BATCH_ROWS
            for entry in taken:
                assert self.waiting.pop(entry.item) is entry
                self.answers[entry.item] += 1
            for priority in Priority:
                ours = [entry for entry in taken if entry.priority is priority]
                left = [entry for entry in self.waiting.values() if entry.priority is priority]
                # Earliest deadline first: nobody who stays was before anybody who went.
                assert all(not other < entry for entry in ours for other in left)
                self.unserved_runs[priority] = (
                    self.unserved_runs[priority] + 1 if priority in waited and not ours else 0
                )
                assert self.unserved_runs[priority] < MAX_RUNS_WAITED

    @rule()
    def close(self) -> None:
        for entry in self.queue.clear():
            del self.waiting[entry.item]
            self.answers[entry.item] += 1
        assert not self.waiting

    @invariant()
    def who_is_not_there_waits_for_nothing(self) -> None:
        there = {entry.priority for entry in self.waiting.values()}
        for priority in Priority:
            if priority not in there:
                self.unserved_runs[priority] = 0

    @invariant()
    def counts_agree(self) -> None:
        assert self.queue.rows == sum(entry.rows for entry in self.waiting.values())
        assert bool(self.queue) == bool(self.waiting)
        assert all(count == (number not in self.waiting) for number, count in self.answers.items())


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_a_flood_of_live_matches_starves_nobody_even_of_whole_runs() -> None:
    """The worst case by hand: the others want a whole run each, and live matches fill every run again and again."""
    for priority in (Priority.PREFETCH, Priority.ANALYTICS):
        queue: Queue[str] = Queue(MAX_ROWS, MAX_BATCH_ROWS)
        queue.add("patient", MAX_BATCH_ROWS, math.inf, priority)
        for _ in range(MAX_RUNS_WAITED):
            while queue.rows < 2 * MAX_ROWS:
                queue.add("live", 1, 0.0, Priority.LIVE_MATCH)
            if any(entry.item == "patient" for entry in queue.take()):
                break
        else:
            raise AssertionError(priority)


def test_each_class_gets_its_share_under_load() -> None:
    queue: Queue[str] = Queue(10_000, 160)
    served = dict.fromkeys(Priority, 0)
    for _ in range(100):
        for priority in Priority:
            for _ in range(160):
                queue.add("", 1, math.inf, priority)
        for entry in queue.take():
            served[entry.priority] += 1
    assert [served[priority] for priority in Priority] == [12_000, 3_000, 1_000]
