"""A virtual environment per peer: their pins contradict ours and one another's."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Final

from inference.contract.errors import PlayfuseError

ROOT: Final = Path(__file__).resolve().parents[2]
REQUIREMENTS: Final = Path(__file__).resolve().parent / "requirements"
_DONE: Final = "playfuse-peers-requirements.sha256"


def python_of(name: str, cache: Path) -> Path:
    """The interpreter of a peer's environment; made, or made anew, where its requirements are not what it holds.

    Raises:
        PlayfuseError: it cannot be made.
    """
    wanted = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    folder = (cache / "environments" / name).resolve()
    python, done = folder / "bin" / "python", folder / _DONE
    if done.is_file() and done.read_text() == digest:
        return python
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(wanted)],
    ):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise PlayfuseError(
                f"environment of {name}",
                got=(made.stdout + made.stderr)[-1_000:].strip(),
                expected="packages from PyPI",
                fix=f"Delete {folder} and try again, or leave it out: --servers.",
            )
    done.write_text(digest)
    return python


def variables(**more: str) -> dict[str, str]:
    """Environment of a peer: it finds this package's scripts, and no maths library starts threads of its own."""
    return {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **more}


def version(name: str, package: str) -> str:
    """The pinned version of a package."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.partition("==")[0].lower() == package)


def script(name: str, cache: Path, app: str) -> list[str]:
    """Command that runs one of our scripts in a peer's environment."""
    return [str(python_of(name, cache)), "-m", f"benchmarks.peers.apps.{app}"]
