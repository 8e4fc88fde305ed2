"""The network on disk: there as a whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.errors import FusionError
from fusion.saved import SavedNetwork, beside
from tests.support.disks import files_no_larger_than

if TYPE_CHECKING:
    from pathlib import Path


def test_a_full_disk_is_told_and_leaves_nothing(made: Path, tmp_path: Path) -> None:
    network, path = SavedNetwork.load(beside(made / "artifact")), tmp_path / "n.safetensors"
    message = r"n\.safetensors: got File too large, expected a writable place with room for the network"
    with files_no_larger_than(100), pytest.raises(FusionError, match=message), network.saved(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_block_is_the_blocks_own_and_leaves_nothing(made: Path, tmp_path: Path) -> None:
    network = SavedNetwork.load(beside(made / "artifact"))
    with pytest.raises(OSError, match="of the block"), network.saved(tmp_path / "n.safetensors"):
        raise OSError("of the block")
    assert list(tmp_path.iterdir()) == []


def test_what_was_read_back_is_written_as_it_was(made: Path, tmp_path: Path) -> None:
    source, path = beside(made / "artifact"), tmp_path / "n.safetensors"
    with SavedNetwork.load(source).saved(path):
        assert not path.exists()
    assert path.read_bytes() == source.read_bytes()
