from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from inference import polling, signals

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_is_a_byte_on_the_socket() -> None:
    with signals.to_socket(signal.SIGUSR1, signal.SIGUSR2) as received:
        assert polling.readable([received], 0.0) == []
        os.kill(os.getpid(), signal.SIGUSR2)
        assert polling.readable([received], 30.0) == [received]
        assert received.recv(64) == bytes([signal.SIGUSR2])


def test_who_is_about_to_end_takes_no_notice_of_a_late_one(capfd: pytest.CaptureFixture[str]) -> None:
    """A worker that cannot start is told to leave by its supervisor just then."""
    with pytest.raises(LookupError), signals.to_socket(signal.SIGUSR1):
        raise LookupError
    os.kill(os.getpid(), signal.SIGUSR1)
    assert capfd.readouterr().err == ""
