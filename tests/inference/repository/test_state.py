from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from inference.contract.errors import PlayfuseError
from inference.repository.state import ModelServing, Serving, Share, StateFile
from tests.support.disks import fill, small_disk

if TYPE_CHECKING:
    from pathlib import Path

SERVING = Serving(models={"net": ModelServing(live="2", previous="1", canary=Share(version="3", percent=5))})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    StateFile(tmp_path / "state").save(lambda: SERVING)
    assert StateFile(tmp_path / "state").read() == SERVING
    assert StateFile(tmp_path / "other").read() == Serving()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema_version": 2}', '{"models": {"net": {"live": 2}}}', '{"more": 1}']
)
def test_a_file_that_says_nothing_is_refused_with_a_way_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").write_text(content)
    with pytest.raises(PlayfuseError, match=r"state: got .* remove it: then the newest version"):
        StateFile(tmp_path / "state").read()


def test_a_full_disk_is_told_and_the_old_state_stays(tmp_path: Path) -> None:
    with small_disk(tmp_path, 64) as disk:
        file = StateFile(disk / "state")
        file.save(lambda: SERVING)
        assert file.fault == ""
        fill(disk, leave_bytes=0)
        file.save(lambda: Serving())
        assert "No space left on device" in file.fault
        assert file.read() == SERVING
        (disk / "ballast").unlink()
        file.save(lambda: Serving())
        assert (file.fault, file.read()) == ("", Serving())


def test_people_can_read_it(tmp_path: Path) -> None:
    StateFile(tmp_path / "state").save(lambda: SERVING)
    assert json.loads((tmp_path / "state").read_text())["models"]["net"]["live"] == "2"
