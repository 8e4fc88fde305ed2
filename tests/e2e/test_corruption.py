"""A damaged artifact is never served: any file, any byte, and the reason is told."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference import engine
from inference.contract.artifact import MANIFEST_FILE, MODEL_FILE, PASSPORT_FILE, REPORT_FILE
from inference.contract.errors import ArtifactError
from tests.support.artifacts import write_artifact

if TYPE_CHECKING:
    from pathlib import Path

FILES = (MODEL_FILE, MANIFEST_FILE, PASSPORT_FILE, REPORT_FILE)
REPORT = b"<!doctype html><title>testnet</title>"


def flipped(content: bytes, position: int, mask: int) -> bytes:
    damaged = bytearray(content)
    damaged[position] ^= mask
    return bytes(damaged)


@pytest.mark.parametrize("file", FILES)
def test_any_changed_byte_is_refused(tmp_path: Path, file: str) -> None:
    write_artifact(tmp_path / "a", report=REPORT)
    path = tmp_path / "a" / file
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    positions = {0, len(content) - 1, *rng.integers(0, len(content), 150).tolist()}
    accepted = []
    for position in sorted(positions):
        mask = int(rng.integers(1, 256))
        path.write_bytes(flipped(content, position, mask))
        try:
            engine.load(tmp_path / "a")
        except ArtifactError as error:
            told = str(error)
        else:
            told = ""
        if file not in told:
            accepted.append((position, mask, told))
    assert accepted == []
    path.write_bytes(content)
    engine.load(tmp_path / "a")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "missing"])
def test_a_cut_longer_empty_or_missing_file_is_refused(tmp_path: Path, file: str, damage: str) -> None:
    write_artifact(tmp_path / "a", report=REPORT)
    path = tmp_path / "a" / file
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-7], "longer": content + b"\n", "empty": b""}[damage])
    with pytest.raises(ArtifactError, match=file.replace(".", r"\.")):
        engine.load(tmp_path / "a")


def test_an_artifact_without_a_report_is_whole(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a")
    assert not artifact.manifest.has_report
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*FILES} - {REPORT_FILE}
    engine.load(tmp_path / "a")


@pytest.mark.process
@pytest.mark.parametrize("command", ["serve", "inspect"])
def test_the_commands_tell_the_reason_and_exit_with_2(tmp_path: Path, command: str) -> None:
    write_artifact(tmp_path / "a")
    path = tmp_path / "a" / MODEL_FILE
    path.write_bytes(flipped(path.read_bytes(), 100, 1))
    result = subprocess.run(
        [sys.executable, "-m", "playfuse", command, str(tmp_path / "a")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 2
    assert str(path) in result.stderr.replace("\n", "")
    assert "The file is damaged" in result.stderr
    assert "Traceback" not in result.stderr
