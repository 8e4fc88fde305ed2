"""Where files and folders are made before they take their place: beside it, out of sight, gone whatever happens."""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK: Final = ".playfuse-"
_OLD: Final = "old"


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A new folder beside a target, hence on its file system; removed at the end, after a fault or Ctrl-C as well.

    A killed process removes nothing. What it left for the same target goes now, and a target that it had just moved
    aside comes back; a lock tells such leftovers from the folders of processes that still live.

    Args:
        target: file or folder that is to be made; the folder it is to be in is made where it is missing.

    Raises:
        OSError: there is no room, or no right to write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}{_MARK}*"):
        with _locked(left) as orphaned:
            if orphaned:
                _bring_back(left, target)
                shutil.rmtree(left, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=f".{target.name}{_MARK}", dir=target.parent))
    try:
        with _locked(place):
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and see it to the disk, which may only then find that it is full.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def put_folder(made: Path, target: Path) -> None:
    """Let a folder made in a place `beside` its target take the place of whatever is there.

    Raises:
        OSError: it cannot; what was there is there again.
    """
    try:
        if target.exists():
            target.rename(made.with_name(_OLD))
        made.rename(target)
    finally:
        _bring_back(made.parent, target)


def put_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; a device or a pipe is simply written to.

    Raises:
        OSError: it cannot be written; a file that was there is as it was.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    if path.is_symlink():
        path = path.resolve()
    with beside(path) as place:
        made = place / path.name
        write_flushed(made, content)
        made.replace(path)


def _bring_back(place: Path, target: Path) -> None:
    if not target.exists() and (place / _OLD).exists():
        (place / _OLD).rename(target)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock of a folder, which is then held; the end of a process ends its lock."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except OSError:
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)
