from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from benchmarks.connections import IdleConnection, hold, request_for
from tests.support.servers import running_server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.process
def test_idle_connections_are_held_while_others_call(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        request = request_for(server.address)
        held = hold(server.address, server.pid, request, idle=300, active=30, calls_each=5)
    assert (held.idle_held, held.calls, held.failed) == (300, 150, 0)
    assert held.open_files >= 330


def test_a_connection_that_was_dropped_is_not_held() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet_and_go() -> None:
            connection, _ = server.accept()
            connection.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            connection.recv(1_024)
            connection.close()

        thread = threading.Thread(target=greet_and_go)
        thread.start()
        idle = IdleConnection("127.0.0.1", server.getsockname()[1])
        thread.join()
        assert not idle.is_held()
        idle.close()
