"""The root of every error the build half raises for a fault its user can mend."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class FusionError(PlayfuseError):
    """A recipe, a teacher, a log or a decomposition that cannot be used as it stands."""


@contextmanager
def disk_faults(path: Path, *, expected: str, fix: str) -> Iterator[None]:
    """Tell of a file or folder what the disk has to say while it is read or written.

    Raises:
        FusionError: the block has raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise FusionError(str(path), got=error.strerror or error, expected=expected, fix=fix) from error
