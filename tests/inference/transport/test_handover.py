"""Threads that leave the core to whom they find there, for as long as replies are handed over."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inference.transport.handover import Uninterrupted, handover

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "io-of-a-test"


@pytest.fixture
def thread() -> Iterator[int]:
    """A thread of that name; its id."""
    named, over = threading.Event(), threading.Event()
    ids = []

    def work() -> None:
        ids.append(threading.get_native_id())
        Path(f"/proc/self/task/{ids[0]}/comm").write_text(NAME)
        named.set()
        over.wait()

    one = threading.Thread(target=work)
    one.start()
    named.wait()
    yield ids[0]
    over.set()
    one.join()


def test_it_gives_way_for_as_long_as_that_takes_and_no_longer(thread: int) -> None:
    uninterrupted = Uninterrupted(NAME)
    for _ in range(3):
        with uninterrupted:
            assert os.sched_getscheduler(thread) == os.SCHED_BATCH
            assert os.sched_getscheduler(0) == os.SCHED_OTHER
        assert os.sched_getscheduler(thread) == os.SCHED_OTHER


def test_it_does_so_after_a_fault_as_well(thread: int) -> None:
    with pytest.raises(ValueError, match="broken"), Uninterrupted(NAME):
        raise ValueError("broken")
    assert os.sched_getscheduler(thread) == os.SCHED_OTHER


def test_scheduling_that_somebody_chose_stays(thread: int) -> None:
    os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
    with Uninterrupted(NAME):
        pass
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH


def test_what_may_not_be_changed_is_left(thread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def forbidden(thread: int, policy: int, _: os.sched_param) -> None:
        asked.append((thread, policy))
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    uninterrupted = Uninterrupted(NAME)
    for _ in range(2):
        with uninterrupted:
            pass
    assert asked == [(thread, os.SCHED_BATCH)]


def test_a_process_with_cores_enough_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert isinstance(handover(NAME), nullcontext)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1})
    assert isinstance(handover(NAME), Uninterrupted)
