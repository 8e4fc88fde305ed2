from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from inference.client import CallFailed, Client
from inference.contract.errors import ArtifactError, PlayfuseError
from inference.contract.features import FEATURE_NAMES
from inference.server import Server
from inference.settings import Limits, ServerSettings
from tests.support.artifacts import write_artifact
from tests.support.serving import served

if TYPE_CHECKING:
    from pathlib import Path

ROWS = np.ones((2, len(FEATURE_NAMES)), dtype=np.float32)


def test_two_servers_cannot_share_a_port(tmp_path: Path) -> None:
    with (
        served(tmp_path / "a") as first,
        pytest.raises(PlayfuseError, match=rf"address 127.0.0.1:{first.port}: .* name another port with --port"),
    ):
        Server(tmp_path / "a", ServerSettings(port=first.port, metrics_port=0))


def test_a_taken_metrics_port_stops_the_start(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PlayfuseError, match="--metrics-port"):
            Server(tmp_path / "a", ServerSettings(port=0, metrics_port=taken.getsockname()[1]))


def test_a_bad_artifact_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        Server(tmp_path, ServerSettings(port=0, metrics_port=0))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"tls": {"certificate_file": "none.pem", "key_file": "none.key"}},
            r"tls\.certificate_file none\.pem: got No such",
        ),
        ({"tokens_file": "none.txt"}, r"tokens file none\.txt: got No such file"),
        ({"host": "0.0.0.0"}, "an address beyond loopback, without TLS"),
    ],
)
def test_what_keeps_callers_out_has_to_be_there(settings: dict[str, object], said: str, tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    with pytest.raises(PlayfuseError, match=said):
        Server(tmp_path / "a", ServerSettings.model_validate({"port": 0, "metrics_port": 0, **settings}))


def test_it_listens_on_ipv6_as_well(tmp_path: Path) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    write_artifact(tmp_path / "a")
    server = Server(tmp_path / "a", ServerSettings(host="::1", port=0, metrics_port=0))
    server.start()
    assert server.address == f"[::1]:{server.port}"
    with Client(server.address, timeout_seconds=30) as client:
        assert client.predict(rows=ROWS).values.shape == (2, 8)
    assert server.drain()


def test_a_message_over_the_limit_is_refused_by_the_transport(tmp_path: Path) -> None:
    with (
        served(tmp_path / "a", limits=Limits(max_message_bytes=64)) as server,
        Client(server.address, timeout_seconds=30, max_attempts=1) as client,
    ):
        with pytest.raises(CallFailed) as refused:
            client.predict(rows=ROWS)
        assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.predict(features={"sessions_7d": [1.0]}).values.shape == (1, 8)


def test_draining_answers_every_accepted_call_and_refuses_the_rest(tmp_path: Path) -> None:
    outcomes: list[str] = []
    first_answers = threading.Semaphore(0)
    with served(tmp_path / "a") as server:
        address = server.address

        def caller() -> None:
            options = {"timeout_seconds": 30.0, "max_attempts": 1}
            with Client(address, **options) as client:  # type: ignore[arg-type]
                while True:
                    try:
                        client.predict(rows=ROWS)
                    except CallFailed as error:
                        outcomes.append(error.code.name)
                        return
                    outcomes.append("OK")
                    first_answers.release()

        callers = [threading.Thread(target=caller) for _ in range(8)]
        for thread in callers:
            thread.start()
        for _ in range(64):
            assert first_answers.acquire(timeout=30)
    for thread in callers:
        thread.join(30)
    assert set(outcomes) == {"OK", "UNAVAILABLE"}
    assert outcomes.count("UNAVAILABLE") == 8
