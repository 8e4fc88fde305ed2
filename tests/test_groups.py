"""Tests that share a server, or a core for their load, count on running in one process, one after the other."""

from __future__ import annotations

import pytest


def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist tells the group in the test's id; without it the tests of a file would be dealt out singly."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("tests are not dealt out in groups")
    assert request.node.nodeid.endswith("@tests/test_groups.py")
