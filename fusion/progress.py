"""Progress bars of the long commands: one bar per stage, on standard error."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from inference.console import notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from rich.progress import TaskID


@contextmanager
def stages() -> Iterator[Callable[[str, float, str], None]]:
    """Show a bar for every stage that is told of: its name, how far it has come (0 to 1) and a word about it.

    Ctrl-C stops the work where it is, or at the latest the next time that it is told of.
    """
    note = TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    # On a narrow terminal the note is cut short, never the time.
    elapsed = TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7))
    columns = (TextColumn("{task.description:<12}"), BarColumn(bar_width=16), elapsed, note)
    shown: dict[str, TaskID] = {}
    with _interrupts() as check, Progress(*columns, console=notes) as progress:

        def told(stage: str, done: float, note: str) -> None:
            check()
            if stage not in shown:
                shown[stage] = progress.add_task(stage, total=1.0, note=note)
            progress.update(shown[stage], completed=done, note=note)

        yield told


@contextmanager
def _interrupts() -> Iterator[Callable[[], None]]:
    """Keep Ctrl-C in mind; what comes out raises it once more, where it has not stopped the work.

    A KeyboardInterrupt gets lost where it meets Python code that C calls and that may not fail: NumPy, for one, clears
    whatever an operand raises while it looks for `__array_ufunc__` and the like.
    """
    pressed = False

    def press(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        # Other threads cannot stop the work: it waits for them in the main one, which the interrupt always reaches.
        if pressed and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not heeded or threading.current_thread() is not threading.main_thread():
        yield check
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
