"""A real server whose versions are swapped while it is asked: nobody is lost, and nothing is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.swaps import under_load
from inference.contract.features import FEATURE_NAMES
from tests.support.repositories import expected
from tests.support.servers import running_models

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("1", "2", "3")
MAX_GROWTH_BYTES = 16 * 1024 * 1024
"""Room for what the allocator keeps. That no version stays behind at all is shown by `test_repository`, reference by
reference; the long run is `benchmarks/swaps.py`.
"""

BREATHING = 2
"""Threads that gRPC's own pool may have more or less at any moment. One left per trial would be 4, one per swap 20."""


@pytest.mark.process
def test_swaps_under_load_lose_no_call_and_leave_nothing_behind(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).exponential(2.0, size=(128, len(FEATURE_NAMES))).astype(np.float32)
    answers = {version: expected("net", version, rows) for version in VERSIONS}
    with running_models(tmp_path, {"net": VERSIONS}) as server:
        seen = under_load(server, "net", rows, answers, count=20, callers=4)
    assert seen["failed"] == {}
    assert seen["wrong"] == 0
    assert set(seen["by_version"]) == set(VERSIONS)
    assert seen["calls"] >= 20 * 20
    for held in ("threads", "descriptors"):
        assert abs(seen["after"][held] - seen["before"][held]) <= BREATHING
    assert seen["after"]["resident_bytes"] - seen["before"]["resident_bytes"] < MAX_GROWTH_BYTES
