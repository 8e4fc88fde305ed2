"""A folder appears whole or not at all, on any path, over any earlier one, on a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.contract import folder
from inference.contract.errors import ArtifactError, PlayfuseError


def _write(path: Path, **files: bytes) -> None:
    folder.write(path, files, marker="marker", what="a thing", error=ArtifactError)


def test_files_are_written_and_replaced_as_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "thing"
    _write(path, marker=b"1", old=b"gone later")
    _write(path, marker=b"2", new=b"x")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == {"marker": b"2", "new": b"x"}
    assert [entry.name for entry in path.parent.iterdir()] == ["thing"], "no staging folder is left"


def test_a_relative_path_is_written_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write(Path("here/thing"), marker=b"1")
    _write(Path("thing"), marker=b"1")
    assert (tmp_path / "here" / "thing" / "marker").is_file()
    assert (tmp_path / "thing" / "marker").is_file()


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _write(tmp_path / "empty", marker=b"1")
    assert (tmp_path / "empty" / "marker").is_file()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_anything_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "mine").write_text("mine")
    with pytest.raises(ArtifactError, match="something that is not a thing"):
        _write(path, marker=b"1")
    assert (path if kind == "file" else path / "mine").read_text() == "mine"


def test_a_full_disk_leaves_the_old_folder_and_no_half_one(tmp_path: Path) -> None:
    """/dev/full is a real device that answers every write as a full disk does."""
    path = tmp_path / "thing"
    _write(path, marker=b"old")
    if not Path("/dev/full").exists():
        pytest.fail("this system has no /dev/full: run the tests on Linux")

    class FullDisk(dict[str, bytes]):
        """Makes the second file a link to the full device before it is written."""

        def items(self):  # type: ignore[no-untyped-def]
            for name, content in super().items():
                if name == "second":
                    staging = next(entry for entry in tmp_path.iterdir() if entry.name.startswith(".thing."))
                    (staging / "new" / "second").symlink_to("/dev/full")
                yield name, content

    contents = FullDisk(marker=b"new", second=b"x" * 100_000)
    with pytest.raises(PlayfuseError, match="No space left on device"):
        folder.write(path, contents, marker="marker", what="a thing", error=ArtifactError)
    assert (path / "marker").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thing"]
