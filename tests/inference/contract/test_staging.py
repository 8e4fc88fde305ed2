"""Where things are made: gone after a fault, Ctrl-C or the next run; what was there before is never lost."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inference.contract import staging
from tests.support.disks import files_no_larger_than

WORKER = """
import sys
from pathlib import Path
from inference.contract import staging
target = Path(sys.argv[1])
with staging.beside(target) as place:
    (place / "new").mkdir()
    if sys.argv[2] == "swapping":
        target.rename(place / "old")
    print("there", flush=True)
    sys.stdin.read()
"""


def worker(target: Path, doing: str) -> subprocess.Popen[bytes]:
    """A process that is at work on a target until it is ended."""
    command = [sys.executable, "-c", WORKER, str(target), doing]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("end", [OSError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_whatever_ends_it(tmp_path: Path, end: type[BaseException]) -> None:
    def make() -> None:
        with staging.beside(tmp_path / "deep" / "thing") as place:
            (place / "half").write_bytes(b"x")
            raise end

    with pytest.raises(end):
        make()
    assert names(tmp_path / "deep") == []


@pytest.mark.process
def test_a_killed_process_is_cleared_up_after_and_a_living_one_is_not(tmp_path: Path) -> None:
    target = tmp_path / "th[i]ng"
    killed, living = worker(target, "writing"), worker(target, "writing")
    with killed, living:
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(20) == -signal.SIGKILL
        assert len(names(tmp_path)) == 2
        (tmp_path / ".th[i]ng.mine").mkdir()
        (tmp_path / ".thing.playfuse-0").mkdir()
        staging.put_file(target, b"whole")
        kept = [name for name in names(tmp_path) if name not in (".th[i]ng.mine", ".thing.playfuse-0", "th[i]ng")]
        assert len(kept) == 1, "that of the one that lives"
        living.communicate(timeout=20)
    assert living.returncode == 0
    assert names(tmp_path) == [".th[i]ng.mine", ".thing.playfuse-0", "th[i]ng"]


@pytest.mark.process
def test_what_a_killed_process_had_moved_aside_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    target.mkdir()
    (target / "precious").write_bytes(b"old")
    with worker(target, "swapping") as process:
        process.kill()
    assert not target.exists()
    with staging.beside(target):
        assert (target / "precious").read_bytes() == b"old"
    assert names(tmp_path) == ["thing"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    target.mkdir()
    (target / "precious").write_bytes(b"old")
    with staging.beside(target) as place, pytest.raises(FileNotFoundError):
        staging.put_folder(place / "never made", target)
    assert (target / "precious").read_bytes() == b"old"
    assert names(tmp_path) == ["thing"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "page"
    staging.put_file(path, b"old")
    with files_no_larger_than(100), pytest.raises(OSError, match="File too large"):
        staging.put_file(path, b"x" * 101)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["page"]


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / "page")
    staging.put_file(link, b"1")
    assert link.is_symlink()
    assert (tmp_path / "real" / "page").read_bytes() == b"1"
    staging.put_file(Path("/dev/null"), b"1")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(IsADirectoryError):
        staging.put_file(tmp_path, b"1")
