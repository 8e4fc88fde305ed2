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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file run in one process, unless they say otherwise: what they share is then made once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


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
