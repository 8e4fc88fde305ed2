from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from inference.client import Client, History
from inference.contract.errors import PlayfuseError
from playfuse import server_process
from tests.support.artifacts import write_artifact
from tests.support.servers import running_server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


def test_it_answers_at_its_address_and_ends_when_stopped(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        with Client(server.address, timeout_seconds=10) as client:
            assert client.predict(histories=[History([1_767_636_000], [3_600])]).values.shape == (1, 8)
        assert os.getpgid(server.pid) == server.pid, "a Ctrl-C for the caller must not reach it"
        assert server.stop() == 0
    assert server.stop() == 0


def test_a_server_that_does_not_drain_in_time_is_killed(tmp_path: Path) -> None:
    write_artifact(tmp_path / "artifact")
    server = server_process.start([str(tmp_path / "artifact")], tmp_path / "server.log")
    os.kill(server.pid, signal.SIGSTOP)
    assert server.stop(timeout_seconds=0.1) == -signal.SIGKILL


def test_a_server_that_cannot_start_tells_why(tmp_path: Path) -> None:
    with pytest.raises(PlayfuseError, match="no such folder"):
        server_process.start([str(tmp_path / "nothing")], tmp_path / "server.log")


def test_a_server_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    with pytest.raises(PlayfuseError, match="got nothing"):
        server_process.start(["--demo"], tmp_path / "server.log", ready_seconds=0)
