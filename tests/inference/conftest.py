"""What tests of the batcher share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.batching import Scene

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()
