"""scripts/setup without its downloads: what it refuses, and when it has nothing to do."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "scripts/setup"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "scripts" / "setup")]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_an_old_or_missing_python_is_refused(checkout: Path) -> None:
    done = setup(checkout, PYTHON="/bin/false")
    assert done.returncode == 2
    assert "expected Python 3.11 or newer" in done.stderr
    assert not (checkout / ".venv").exists()


def test_nothing_is_done_twice(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    content = b"".join((checkout / name).read_bytes() for name in ("pyproject.toml", "scripts/setup"))
    (checkout / ".venv" / ".setup-stamp").write_text(f"{hashlib.sha256(content).hexdigest()}\n")
    done = setup(checkout, PYTHON="/bin/false")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_target_of_the_makefile_is_explained() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "lint", "protos", "bench"):
        assert f"make {target} " in done.stdout
