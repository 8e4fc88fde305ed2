"""The API: stubs match the protos, the protos follow the rules, and nothing released ever changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BUF_CACHE_DIR": str(cwd / ".buf-cache") if cwd != ROOT else os.environ.get("BUF_CACHE_DIR", "/tmp/buf-cache"),
    }
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_stubs_are_those_of_the_protos() -> None:
    result = run("scripts/protos", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_protos_follow_the_rules() -> None:
    result = run("buf", "lint")
    assert result.returncode == 0, result.stdout + result.stderr


def test_nothing_released_has_changed() -> None:
    result = run("buf", "breaking", "--against", "protos/released.binpb")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string request_id = 1;", "string request_id = 16;"),
        ("rpc DescribeModel(", "rpc DescribeServedModel("),
        ("uint32 rows = 1;", "int64 rows = 1;"),
    ],
)
def test_a_change_of_something_released_would_be_seen(tmp_path: Path, old: str, new: str) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    proto = tmp_path / "protos" / "playfuse" / "v1" / "player_behavior.proto"
    text = proto.read_text()
    assert old in text
    proto.write_text(text.replace(old, new, 1))
    assert run("buf", "breaking", "--against", "protos/released.binpb", cwd=tmp_path).returncode != 0
