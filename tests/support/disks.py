"""Disks that are full, really: a file system of a few kilobytes, and a limit to the size of files."""

from __future__ import annotations

import resource
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOUNT = 'mount -t tmpfs -o size="$1" tmpfs "$2" && echo mounted && read -r end'


@contextmanager
def small_disk(mount_point: Path, kilobytes: int) -> Iterator[Path]:
    """A tmpfs in a mount namespace of its own, reached by way of the process that lives there.

    The test is skipped where this machine does not let its users make namespaces.
    """
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh", f"{kilobytes}k", str(mount_point)]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here, so no disk that could be filled")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != b"mounted\n":
            pytest.skip(f"no disk that could be filled: {process.stderr.read().decode().strip()}")
        try:
            yield Path(f"/proc/{process.pid}/root{mount_point}")
        finally:
            process.stdin.close()


def fill(disk: Path, *, leave_bytes: int) -> None:
    """Put so much on a disk that no more than some bytes, in whole blocks, are left."""
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(b"\1" * max(0, free - leave_bytes))


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """Any write beyond that size fails (EFBIG), whoever makes it in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
