"""Progress bars of the long commands: one bar per stage, on standard error."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from inference.console import notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID


@contextmanager
def stages() -> Iterator[Callable[[str, float, str], None]]:
    """Show a bar for every stage that is told of: its name, how far it has come (0 to 1) and a word about it."""
    note = TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
    # On a narrow terminal the note is cut short, never the time.
    elapsed = TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7))
    columns = (TextColumn("{task.description:<12}"), BarColumn(bar_width=16), elapsed, note)
    shown: dict[str, TaskID] = {}
    with Progress(*columns, console=notes) as progress:

        def told(stage: str, done: float, note: str) -> None:
            if stage not in shown:
                shown[stage] = progress.add_task(stage, total=1.0, note=note)
            progress.update(shown[stage], completed=done, note=note)

        yield told
