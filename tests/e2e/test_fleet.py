"""Several workers that serve one folder of models: what the admin changes reaches all, whoever dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import numpy as np
import psutil
import pytest

from benchmarks.callers import packed
from inference.admin_client import AdminClient
from inference.client import CallFailed
from inference.pb.playfuse.v1 import model_admin_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from inference.repository.split import Split
from inference.repository.state import STATE_FILE
from playfuse.demo.metrics import Scrape
from tests.support.repositories import ROWS, expected
from tests.support.servers import running_models
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playfuse.server_process import ServerProcess

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 60.0
VERSIONS = ("1", "2", "3")
CONNECTIONS = 24
"""That all of them meet one worker of two happens once in 2**23."""
KEYS = [f"player {number}" for number in range(12)]
ANSWERS = {version: expected("net", version) for version in VERSIONS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    with running_models(folder, {"net": VERSIONS}, "--workers", "2") as server:
        yield server


@contextlib.contextmanager
def connected(server: ServerProcess) -> Iterator[list[PlayerBehaviorStub]]:
    """Connections of their own, without retries, which meet both workers."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with contextlib.ExitStack() as channels:
        yield [
            PlayerBehaviorStub(channels.enter_context(grpc.insecure_channel(server.address, options=options)))
            for _ in range(CONNECTIONS)
        ]


def met(caller: PlayerBehaviorStub, key: str = "") -> str:
    """The version that answered; its values are that version's."""
    request = packed(ROWS)
    request.routing_key = key
    reply = caller.Predict(request, timeout=PATIENCE_SECONDS)
    values = np.frombuffer(reply.values, "<f4").reshape(len(ROWS), -1)
    assert np.allclose(values, ANSWERS[reply.model_version], rtol=1e-5, atol=1e-6)
    assert not reply.degraded
    return str(reply.model_version)


def all_meet(callers: list[PlayerBehaviorStub], version: str) -> bool:
    """Whether that version answers on every connection, in the end."""
    return until(lambda: {met(caller) for caller in callers} == {version}, seconds=PATIENCE_SECONDS)


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def owners(server: ServerProcess) -> list[psutil.Process]:
    """Workers that listen on the admin's port."""
    port = int(server.admin_address.rpartition(":")[2])
    return [
        worker
        for worker in workers_of(server)
        if any(each.status == psutil.CONN_LISTEN and each.laddr[1] == port for each in worker.net_connections("tcp"))
    ]


def all_serve(server: ServerProcess) -> bool:
    def do() -> bool:
        seen = Scrape.read(server.metrics_url)
        return seen.total("playfuse_workers", state="alive") == 2 and len(workers_of(server)) == 2

    return until(do, seconds=PATIENCE_SECONDS)


def status(server: ServerProcess) -> pb.ModelStatus:
    """What the admin's port tells, once it answers."""
    found: list[pb.ModelStatus] = []

    def answers() -> bool:
        with AdminClient(server.admin_address) as admin, contextlib.suppress(CallFailed):
            found.extend(admin.list().models)
        return bool(found)

    assert until(answers, seconds=PATIENCE_SECONDS)
    return found[0]


def test_changes_reach_all_workers_and_fail_no_call(server: ServerProcess) -> None:
    with connected(server) as callers, AdminClient(server.admin_address) as admin:
        assert all_meet(callers, "3")
        assert len(owners(server)) == 1
        assert admin.load("net", "1").model.live_version == "1"
        assert all_meet(callers, "1")
        admin.start_canary("net", "2", 50)
        split = Split("net", "2", 50)
        of_key = {key: "2" if split.takes(key) else "1" for key in KEYS}
        assert set(of_key.values()) == {"1", "2"}
        assert until(
            lambda: all(met(caller, key) == of_key[key] for key in KEYS for caller in callers),
            seconds=PATIENCE_SECONDS,
        )
        seen = Scrape.read(server.metrics_url)
        assert seen.total("playfuse_canary_percent") == 50
        assert seen.total("playfuse_state_saved") == 1
        admin.start_shadow("net", "3", 100)
        assert admin.promote("net").model.live_version == "2"
        assert all_meet(callers, "2")
        assert admin.list().models[0].live_version == "2"
    seen = Scrape.read(server.metrics_url)
    assert seen.total("playfuse_swaps_total") == 2, "one change counts once"
    assert seen.total("playfuse_shadow_percent") == 0
    assert seen.total("playfuse_load_failures_total") == 0


def test_a_second_one_is_refused_the_admins_port(server: ServerProcess, folder: Path) -> None:
    port = server.admin_address.rpartition(":")[2]
    arguments = ["--models", str(folder / "models"), "--workers", "2", "--port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "playfuse", "serve", *arguments, "--admin-port", port]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert result.returncode == 2
    assert f"address 127.0.0.1:{port}" in result.stderr
    assert "name another port with --admin-port" in result.stderr


def test_another_worker_takes_over_from_an_owner_that_is_killed(server: ServerProcess, folder: Path) -> None:
    with AdminClient(server.admin_address) as admin:
        admin.load("net", "1")
        admin.load("net", "2")
    # Without it a start takes the newest version, 3: the supervisor knows what is in force.
    (folder / "models" / STATE_FILE).unlink()
    (owner,) = owners(server)
    owner.kill()
    assert status(server).live_version == "2"
    assert until(lambda: owner not in workers_of(server), seconds=PATIENCE_SECONDS)
    assert all_serve(server)
    assert len(owners(server)) == 1
    with connected(server) as callers:
        assert {met(caller) for caller in callers} == {"2"}
        with AdminClient(server.admin_address) as admin:
            assert admin.rollback("net").model.live_version == "1"
        assert all_meet(callers, "1")


def test_a_rolling_restart_hands_the_models_on(server: ServerProcess) -> None:
    former = {worker.pid for worker in workers_of(server)}
    with AdminClient(server.admin_address) as admin:
        admin.load("net", "2")
    os.kill(server.pid, signal.SIGHUP)
    assert until(lambda: not former & {worker.pid for worker in workers_of(server)}, seconds=PATIENCE_SECONDS)
    assert all_serve(server)
    assert status(server).live_version == "2"
    assert len(owners(server)) == 1
    with AdminClient(server.admin_address) as admin:
        assert admin.load("net", "3").model.previous_version == "2"
