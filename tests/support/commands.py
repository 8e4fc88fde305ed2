"""`playfuse` in a process of its own that is to be interrupted: forked off a process that has imported everything.

Importing torch costs more than what such a test runs. The process is real, and so are the signals that end it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

_COMMANDS = ("playfuse.cli", "fusion.command", "fusion.search.strategy", "fusion.incremental.command")
_LATE = ("torch._dynamo", "alembic.command")
"""What torch and Optuna import when they are first used."""
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*_COMMANDS, *_LATE, __name__])


@dataclass(frozen=True, slots=True)
class Command:
    """A running command and the file that it writes to."""

    process: ForkServerProcess
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def end(self, number: signal.Signals, *, once: Callable[[], bool], seconds: float = 90.0) -> int:
        """Send a signal once a condition holds; the exit code, negative where a signal was the end of it."""
        try:
            assert until(lambda: once() or not self.process.is_alive(), seconds=seconds), self.said()
            assert self.process.is_alive(), self.said()
            os.kill(self.process.pid or 0, number)
            return self.wait(seconds)
        finally:
            self.process.kill()

    def wait(self, seconds: float = 90.0) -> int:
        """The exit code."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, self.said()
        return self.process.exitcode


def start(output: Path, *arguments: object) -> Command:
    """Start `playfuse ARGUMENTS`, its progress shown as in a terminal."""
    words = tuple(str(argument) for argument in arguments)
    output.touch()
    process = _context.Process(target=_main, args=(words, output))
    process.start()
    return Command(process, output)


def _main(arguments: tuple[str, ...], output: Path) -> None:
    from fusion import cost
    from inference.console import notes, run
    from playfuse.cli import build

    cost.REPEAT_SECONDS, cost.ENERGY_SECONDS = 0.001, 0.02  # type: ignore[misc]
    os.environ |= {"FORCE_COLOR": "1", "TERM": "xterm"}
    notes.is_interactive = True
    with output.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    run(build(missing=[]), arguments)
