from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inference.admin_client import AdminClient
from inference.client import CallFailed, Client
from tests.support.repositories import ROWS, served_models, write_versions

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 30.0


def test_no_proxy_is_asked_for_what_is_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "no_grpc_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # where nobody listens
    write_versions(tmp_path, "net", ["1"])
    with served_models(tmp_path) as server:
        port = server.address.rpartition(":")[2]
        for target in (server.address, f"localhost:{port}", f"dns:///127.0.0.1:{port}", f"ipv4:127.0.0.1:{port}"):
            with Client(target, timeout_seconds=PATIENCE_SECONDS, max_attempts=1) as client:
                assert client.predict(rows=ROWS).values.shape == (len(ROWS), 8), target
        with AdminClient(server.admin_address, timeout_seconds=PATIENCE_SECONDS) as admin:
            assert [model.name for model in admin.list().models] == ["net"]
    with (
        Client("game.invalid:50051", timeout_seconds=PATIENCE_SECONDS, max_attempts=1) as client,
        pytest.raises(CallFailed, match=r"127\.0\.0\.1:1"),  # others are asked for there
    ):
        client.predict(rows=ROWS)
