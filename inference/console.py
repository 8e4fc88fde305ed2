"""What both command lines share: one console, and faults told without a traceback."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

USER_FAULT_EXIT_CODE: Final = 2
"""Exit code of a fault that the user can mend; the same that a wrong option gives."""

console: Final = Console()
"""Results and tables: standard output."""

notes: Final = Console(stderr=True)
"""Progress and faults: standard error, so that `--json` on standard output stays parsable."""


def print_fault(error: PlayfuseError) -> None:
    """Tell on standard error where the fault is, what was got, what was expected and how to mend it."""
    notes.print(f"[bold red]error[/] {escape(error.where)}", highlight=False, soft_wrap=True)
    lines = {"got": error.got, "expected": error.expected, "fix": error.fix}
    for label, text in lines.items():
        if text:
            notes.print(f"  [bold]{label:<9}[/]{escape(text)}", highlight=False, soft_wrap=True)


def print_next(said: str, *commands: Sequence[object]) -> None:
    """What was done, and under it the commands to go on with: ready to be copied, however long, quoted where needed."""
    console.print(f"{escape(said)} Next:", highlight=False, soft_wrap=True)
    for words in commands:
        command = shlex.join(str(word) for word in words)
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run a command line; a `PlayfuseError` becomes a message and exit code 2, never a traceback.

    What is printed may meet a full disk, which is told like any other fault, or a reader who has gone, as `head` does
    when it has seen enough: nobody is left to be told.

    Args:
        app: the application.
        arguments: what follows the program's name; by default those of this process.

    Raises:
        SystemExit: always, with the exit code.
    """
    try:
        try:
            app(args=arguments)
        finally:
            sys.stdout.flush()
    except PlayfuseError as error:
        print_fault(error)
        sys.exit(USER_FAULT_EXIT_CODE)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EPIPE) or error.filename is not None:
            raise
        # Python writes what it still holds when it ends, and would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.ENOSPC:
            fix = "Free some space, or send the output elsewhere."
            print_fault(
                PlayfuseError("standard output", got=error.strerror, expected="room for what is printed", fix=fix)
            )
        sys.exit(USER_FAULT_EXIT_CODE)
