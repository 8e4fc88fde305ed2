"""Simulated players, made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from fusion.telemetry.dataset import Dataset, build
from fusion.telemetry.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    """A small log with all nine behaviours."""
    return build(simulate(500, seed=7))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose a lot where other tests keep the cores busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
