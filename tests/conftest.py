"""Fixtures that several rooms share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from fusion.telemetry.sources import DATA_VARIABLE, data_folder, find_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Timing never decides a test: machines are shared.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def real_log() -> Callable[[str], Path]:
    """Gives the log of a shipped spec; the test is skipped where this machine has none."""

    def find(spec_name: str) -> Path:
        path = find_log(spec_name)
        if path is None:
            pytest.skip(
                f"no log of {spec_name} below {data_folder()}: set {DATA_VARIABLE} to the folder of the real data"
            )
        return path

    return find
