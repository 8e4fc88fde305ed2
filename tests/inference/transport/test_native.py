"""What goes wrong in the thread that serves bursts costs the calls that it went wrong with, and is never unnoticed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from inference.client import CallFailed, Client
from inference.contract.features import FEATURE_NAMES
from inference.transport import native
from inference.transport.bursts import Bursts
from tests.support.serving import served
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inference.transport.front import Event

ROWS = [[1.0] * len(FEATURE_NAMES)]
PATIENCE_SECONDS = 30.0


class Panic(BaseException):
    """As another language's arrive in Python: no Exception."""


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The next bursts end like this."""
    coming: list[BaseException] = []
    take_in = Bursts.take_in

    def faulty(self: Bursts, events: Sequence[Event]) -> None:
        if coming:
            raise coming.pop(0)
        take_in(self, events)

    monkeypatch.setattr(Bursts, "take_in", faulty)
    return coming


def test_the_calls_after_a_fault_are_answered(tmp_path: Path, faults: list[BaseException]) -> None:
    with served(tmp_path, transport="native") as server, Client(server.address, max_attempts=1) as client:
        for fault in (MemoryError(), Panic()):
            faults.append(fault)
            with pytest.raises(CallFailed) as failed:
                client.predict(rows=ROWS)
            assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
            # The cancellation of the call before is a burst of its own.
            assert client.predict(rows=ROWS).values.shape == (1, 8)


def test_a_transport_that_fails_again_and_again_ends_the_process(
    tmp_path: Path, faults: list[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(native, "_MAX_FAULTS", 3)
    monkeypatch.setattr(os, "kill", lambda *sent: asked.append(sent))
    faults += [Panic(), MemoryError(), Panic()]
    with served(tmp_path, transport="native") as server, Client(server.address, timeout_seconds=0.5) as client:

        def fails() -> Any:
            with pytest.raises(CallFailed):
                client.predict(rows=ROWS)
            return asked

        assert until(fails, seconds=PATIENCE_SECONDS)
    assert asked == [(os.getpid(), signal.SIGTERM)]
