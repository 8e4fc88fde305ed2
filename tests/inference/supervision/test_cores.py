from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from inference.supervision.cores import usable

if TYPE_CHECKING:
    from pathlib import Path

ALL = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        ("max 100000", len(ALL)),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("99900000 100000", len(ALL)),
        ("x", len(ALL)),
    ],
)
def test_no_more_cores_than_the_container_pays_for(quota: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable(tmp_path / "cpu.max") == ALL[:count]


def test_without_a_quota_all_that_the_scheduler_allows(tmp_path: Path) -> None:
    assert usable(tmp_path / "none") == ALL
