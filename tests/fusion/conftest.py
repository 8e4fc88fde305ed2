"""What holds for all tests of the fusion half."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion import cost

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="session")
def short_timing() -> Iterator[None]:
    """No test judges what something costs: a millisecond shows that it is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "REPEAT_SECONDS", 0.001)
        patch.setattr(cost, "ENERGY_SECONDS", 0.02)
        yield
