"""Three versions of one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.repositories import write_versions

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_versions(tmp_path / "models", "net", ["1", "2", "10"])
    return tmp_path / "models"
