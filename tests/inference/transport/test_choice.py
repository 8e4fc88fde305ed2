from __future__ import annotations

import importlib.util

import pytest

from inference.contract.errors import PlayfuseError
from inference.transport import choice


@pytest.mark.parametrize(
    ("asked", "tls", "chosen"),
    [("auto", False, "native"), ("auto", True, "grpcio"), ("grpcio", True, "grpcio"), ("native", False, "native")],
)
def test_auto_takes_native_where_it_can(asked: str, tls: bool, chosen: str) -> None:
    assert choice.choose(asked, tls=tls) == chosen


def test_native_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choice.choose("auto") == "grpcio"
    with pytest.raises(PlayfuseError, match=r"playfuse\[native\]"):
        choice.choose("native")


def test_native_speaks_no_tls() -> None:
    with pytest.raises(PlayfuseError, match="Use grpcio"):
        choice.choose("native", tls=True)
