from __future__ import annotations

import socket

import pytest

from inference.contract.errors import PlayfuseError
from inference.supervision.port import ReservedPort


def shared(port: int) -> socket.socket:
    worker = socket.socket()
    worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    worker.bind(("127.0.0.1", port))
    worker.listen()
    return worker


def test_workers_share_it_and_the_reservation_takes_no_connection() -> None:
    with ReservedPort("127.0.0.1", 0) as reserved, shared(reserved.port) as one, shared(reserved.port) as two:
        one.setblocking(False)
        two.setblocking(False)
        callers = [socket.create_connection(("127.0.0.1", reserved.port)) for _ in range(64)]
        taken = {worker: 0 for worker in (one, two)}
        for worker in taken:
            while True:
                try:
                    worker.accept()[0].close()
                except BlockingIOError:
                    break
                taken[worker] += 1
        for caller in callers:
            caller.close()
    assert sum(taken.values()) == 64
    assert min(taken.values()) > 0, "by chance once in 2**63"


def test_a_second_supervisor_is_refused_while_workers_listen() -> None:
    with ReservedPort("127.0.0.1", 0) as reserved:
        with shared(reserved.port), pytest.raises(PlayfuseError, match=r"Address already in use.*--port"):
            ReservedPort("127.0.0.1", reserved.port)
        with shared(reserved.port), pytest.raises(PlayfuseError, match="another port with --admin-port"):
            ReservedPort("127.0.0.1", reserved.port, "--admin-port")
        # Between the deaths of its workers and their restarts nobody else gets it either, unless he shares on purpose.
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", reserved.port))


def test_a_port_of_somebody_who_shares_is_taken_all_the_same() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PlayfuseError, match="Address already in use"):
            ReservedPort("127.0.0.1", other.getsockname()[1])


def test_it_is_free_again_at_once_after_connections_have_been_closed() -> None:
    with ReservedPort("127.0.0.1", 0) as reserved:
        port = reserved.port
        with shared(port) as worker, socket.create_connection(("127.0.0.1", port)) as caller:
            worker.accept()[0].close()  # the server closes first: its end lingers in TIME_WAIT
            assert caller.recv(1) == b""
    ReservedPort("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["203.0.113.1", "no.such.name.invalid"])
def test_an_address_of_another_machine_is_told(host: str) -> None:
    with pytest.raises(PlayfuseError, match=f"address {host}:0: got .*, expected a free port on an address of this"):
        ReservedPort(host, 0)


def test_all_addresses_of_a_name_are_held() -> None:
    with ReservedPort("localhost", 0) as reserved, socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", reserved.port))
