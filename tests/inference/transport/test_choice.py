from __future__ import annotations

import importlib.util

import pytest

from inference.contract.errors import PlayfuseError
from inference.settings import ServerSettings
from inference.transport import choice

TLS = {"certificate_file": "server.pem", "key_file": "server.key"}


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, "native"),
        ({"tls": TLS}, "grpcio"),
        ({"max_connection_age_seconds": 60}, "grpcio"),
        ({"transport": "grpcio", "tls": TLS}, "grpcio"),
        ({"transport": "native"}, "native"),
    ],
    ids=["auto", "auto with TLS", "auto with an age", "grpcio", "native"],
)
def test_auto_takes_native_where_it_can(settings: dict[str, object], chosen: str) -> None:
    assert choice.choose(ServerSettings.model_validate(settings)) == chosen


def test_native_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choice.choose(ServerSettings()) == "grpcio"
    with pytest.raises(PlayfuseError, match=r"playfuse\[native\]"):
        choice.choose(ServerSettings(transport="native"))
