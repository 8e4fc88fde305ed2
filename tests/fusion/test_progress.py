"""Ctrl-C while stages are shown."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fusion.progress import stages


def interrupted_operand() -> object:
    """Its type's attributes are looked up by Python code, like an enum's: Ctrl-C is pressed while NumPy does so."""

    class Type(type):
        def __getattr__(cls, name: str) -> object:
            os.kill(os.getpid(), signal.SIGINT)
            raise AttributeError(name)

    class Operand(int, metaclass=Type):
        pass

    return Operand(0)


def test_an_interrupt_that_numpy_clears_stops_the_work_when_it_is_next_told_of() -> None:
    with pytest.raises(KeyboardInterrupt), stages() as told:  # noqa: PT012 - what comes before is the case
        told("stage", 0.0, "")
        assert not (np.ones(3) == interrupted_operand()).any()
        # Another thread may finish what it is about: the main one waits for it.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(told, "stage", 0.5, "").result()
        told("stage", 1.0, "")
        pytest.fail("Ctrl-C changes nothing")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_stops_the_work_where_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), stages():  # noqa: PT012 - the interrupt is raised in any of its lines
        signal.raise_signal(signal.SIGINT)
        pytest.fail("Ctrl-C changes nothing")
    with stages() as told:
        told("stage", 1.0, "not of the next stages")


def test_a_handler_of_another_kind_stays() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stages() as told:
            signal.raise_signal(signal.SIGINT)
            told("stage", 1.0, "")
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_stages_of_another_thread_leave_the_handler_alone() -> None:
    def work() -> object:
        with stages() as told:
            told("stage", 1.0, "")
            return signal.getsignal(signal.SIGINT)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() is signal.default_int_handler
