"""Programs that are no Python packages."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

_SOURCES: Final = {
    "prometheus": "run scripts/prometheus-tools, or install Debian's package prometheus",
    "promtool": "run scripts/prometheus-tools, or install Debian's package prometheus",
    "chromium": "run scripts/chromium as root, or install Debian's package chromium",
}


def tool(name: str) -> str:
    """Path of a program; without it the test is skipped on a laptop and fails in CI."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        reason = f"{name} is not on PATH: {_SOURCES.get(name, 'run scripts/setup')}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found
