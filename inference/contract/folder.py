"""Folders that appear whole or not at all: an artifact, a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.contract import staging

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inference.contract.errors import PlayfuseError


def check_replaceable(path: Path, *, marker: str, what: str, error: type[PlayfuseError]) -> None:
    """Refuse a place that holds anything but nothing, an empty folder, or the kind of folder that would replace it.

    Args:
        path: where the folder is to be.
        marker: file that shows that a folder is of this kind.
        what: this kind, in words: "an artifact".
        error: what to raise.

    Raises:
        PlayfuseError: an `error`, where something else is there.
    """
    if path.exists() and not (path / marker).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise error(
            str(path),
            got=f"something that is not {what}",
            expected=f"a new path, or {what} to replace",
            fix="Name another path; nothing was written.",
        )


def write(path: Path, contents: Mapping[str, bytes], *, marker: str, what: str, error: type[PlayfuseError]) -> None:
    """Write files so that a reader of the folder sees all of them or none, also after a crash.

    They go to a folder beside `path`, are flushed to disk, and are renamed into place; what was there is removed.

    Args:
        path: of the folder.
        contents: file name → content.
        marker: see `check_replaceable`.
        what: likewise.
        error: likewise.

    Raises:
        PlayfuseError: an `error`, where something else is there, or it cannot be written (a full disk, say).
    """
    check_replaceable(path, marker=marker, what=what, error=error)
    try:
        with staging.beside(path) as place:
            made = place / "new"
            made.mkdir()
            made.chmod(0o755)
            for name, content in contents.items():
                staging.write_flushed(made / name, content)
            staging.put_folder(made, path)
    except OSError as fault:
        raise error(
            str(path),
            got=f"{type(fault).__name__}: {fault.strerror or fault}",
            expected=f"a writable place with room for {what}",
            fix="Free some space or name another path; nothing half-written was left.",
        ) from fault
