"""The admin's port, over a real connection."""

from __future__ import annotations

import gc
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from inference.admin_client import AdminClient
from inference.client import CallFailed, Client
from inference.contract.errors import PlayfuseError
from inference.pb.playfuse.v1 import model_admin_pb2 as pb
from inference.security import tokens
from inference.security.tokens import Role
from inference.server import Server
from inference.services.model_admin import SERVICE
from inference.settings import CanaryBounds, ServerSettings
from playfuse.demo.metrics import Scrape
from tests.support.reflection import open_streams
from tests.support.repositories import ROWS, damage, deny, expected, remove, served_models, write_versions
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS = 30.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_versions(tmp_path, "net", ["1", "2"])
    return tmp_path


@pytest.fixture
def server(root: Path) -> Iterator[Server]:
    with served_models(root) as server:
        yield server


@pytest.fixture
def admin(server: Server) -> Iterator[AdminClient]:
    with AdminClient(server.admin_address, timeout_seconds=PATIENCE_SECONDS) as admin:
        yield admin


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address, timeout_seconds=PATIENCE_SECONDS) as client:
        yield client


def answered(client: Client, **asked: str) -> str:
    """The version that answered; its values must be those of this version."""
    prediction = client.predict(rows=ROWS, **asked)  # type: ignore[arg-type]
    np.testing.assert_allclose(
        prediction.values, expected(prediction.model_name, prediction.model_version), rtol=1e-5, atol=1e-6
    )
    assert not prediction.degraded
    return prediction.model_version


def test_forward_and_back(admin: AdminClient, client: Client) -> None:
    assert answered(client) == "2"
    assert admin.load("net", "1").model.live_version == "1"
    assert answered(client) == "1"
    reply = admin.rollback("net")
    assert (reply.model.live_version, reply.model.previous_version, reply.warning) == ("2", "", "")
    assert answered(client) == "2"
    assert admin.load("net").model.live_version == "2"


def test_a_model_is_described_by_name_and_version(admin: AdminClient, client: Client) -> None:
    admin.start_canary("net", "1", 100)
    assert client.describe("net").model_version == "2"  # the live one, whoever is on trial
    assert client.describe("net", "1").model_version == "1"
    with pytest.raises(CallFailed, match="got model 'net' version '3', expected one that is served: net 2, net 1"):
        client.describe("net", "3")
    with pytest.raises(CallFailed, match="got model 'other', expected one that is served"):
        client.predict(rows=ROWS, model_name="other")


def test_a_trial_meets_keys_ids_and_calls_without_either(admin: AdminClient, client: Client) -> None:
    assert answered(client) == "2"  # its shape is known by now
    admin.start_canary("net", "1", 50)
    keys = [f"player {number}" for number in range(60)]
    met = [answered(client, routing_key=key) for key in keys]
    assert set(met) == {"1", "2"}
    assert met == [answered(client, routing_key=key) for key in keys]
    assert {answered(client, request_id=key) for key in keys} == {"1", "2"}
    assert {answered(client) for _ in range(60)} == {"1", "2"}
    assert {answered(client, model_version=version) for version in "12"} == {"1", "2"}
    (model,) = admin.list().models
    assert (model.canary.version, model.canary.percent) == ("1", 50)
    assert model.canary.canary_tally.calls + model.canary.live_tally.calls >= 240
    assert model.canary.canary_tally.errors == 0
    assert admin.promote("net").model.live_version == "1"
    assert {answered(client, routing_key=key) for key in keys} == {"1"}


def test_a_shadow_is_listed_with_its_differences(admin: AdminClient, client: Client) -> None:
    admin.start_shadow("net", "1", 100)
    assert answered(client) == "2"
    assert until(lambda: admin.list().models[0].shadow.compared == 1, seconds=PATIENCE_SECONDS)
    shadow = admin.list().models[0].shadow
    apart = np.abs(expected("net", "1").astype(np.float64) - expected("net", "2"))
    assert [difference.players for difference in shadow.differences] == [len(ROWS)] * 8
    assert shadow.differences[0].mean == pytest.approx(apart[:, 0].mean(), rel=1e-4)
    assert (shadow.differences[0].unit, shadow.differences[5].unit) == ("ratio", "seconds")
    assert not admin.stop_shadow("net").model.HasField("shadow")


def test_versions_are_listed_with_what_they_do_and_what_is_wrong_with_them(admin: AdminClient, root: Path) -> None:
    write_versions(root, "net", ["3", "10"])
    damage(root, "net", "10")
    with pytest.raises(CallFailed, match=r"FAILED_PRECONDITION: .*SHA-256") as refused:
        admin.load("net")
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    admin.start_canary("net", "1", 5)
    admin.start_shadow("net", "3", 5)
    (model,) = admin.list().models
    assert [(version.version, version.role) for version in model.versions] == [
        ("10", pb.VERSION_ROLE_UNSPECIFIED),
        ("3", pb.VERSION_ROLE_SHADOW),
        ("2", pb.VERSION_ROLE_LIVE),
        ("1", pb.VERSION_ROLE_CANARY),
    ]
    assert "SHA-256" in model.versions[0].fault
    remove(root, "net")
    (model,) = admin.list().models
    assert {version.version for version in model.versions} == {"1", "2", "3"}


def test_a_folder_that_cannot_be_listed_is_shown_with_the_reason(
    admin: AdminClient, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, root / "net")
    (model,) = admin.list().models
    assert [(one.version, one.role, "Permission denied" in one.fault) for one in model.versions] == [
        ("2", pb.VERSION_ROLE_LIVE, False),
        ("", pb.VERSION_ROLE_UNSPECIFIED, True),
    ]
    monkeypatch.undo()
    (model,) = admin.list().models
    assert [(one.version, one.fault) for one in model.versions] == [("2", ""), ("1", "")]


def test_no_count_is_lost_by_a_swap(server: Server, admin: AdminClient, client: Client) -> None:
    def predicted() -> dict[str, float]:
        seen = Scrape.read(server.metrics_url, timeout_seconds=PATIENCE_SECONDS)
        return seen.by("version", "playfuse_predictions_total", model="net", behaviour="churn_7d")

    for version, calls in (("1", 2), ("2", 3), ("1", 4)):
        before = predicted()
        admin.load("net", version)
        for _ in range(calls):
            assert answered(client) == version
        assert all(predicted()[known] >= count for known, count in before.items())
    assert predicted() == {"1": 6 * len(ROWS), "2": 3 * len(ROWS)}
    assert Scrape.read(server.metrics_url).total("playfuse_swaps_total", model="net") == 3


def test_what_was_learnt_of_requests_keeps_no_old_version(server: Server, admin: AdminClient, client: Client) -> None:
    assert server._repository is not None
    assert answered(client) == "2"
    gc.collect()
    gc.disable()
    try:
        old = weakref.ref(server._repository.router.find("net"))
        admin.load("net", "1")
        assert until(lambda: old() is None, seconds=PATIENCE_SECONDS)
    finally:
        gc.enable()


def test_faults_have_their_status(admin: AdminClient) -> None:
    for call, code in (
        (lambda: admin.load("other"), grpc.StatusCode.NOT_FOUND),
        (lambda: admin.load("net", "7"), grpc.StatusCode.NOT_FOUND),
        (lambda: admin.load(""), grpc.StatusCode.NOT_FOUND),
        (lambda: admin.promote("net"), grpc.StatusCode.FAILED_PRECONDITION),
        (lambda: admin.rollback("net"), grpc.StatusCode.FAILED_PRECONDITION),
        (lambda: admin.stop_canary("net"), grpc.StatusCode.FAILED_PRECONDITION),
        (lambda: admin.stop_shadow("net"), grpc.StatusCode.FAILED_PRECONDITION),
        (lambda: admin.start_canary("net", "2", 5), grpc.StatusCode.FAILED_PRECONDITION),
        (lambda: admin.start_canary("net", "1", 101), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda: admin.start_shadow("net", "1", float("nan")), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(CallFailed) as failed:
            call()
        assert failed.value.code is code
        assert failed.value.details


def test_unloading_under_load_ends_with_answers_or_not_found(server: Server, admin: AdminClient) -> None:
    outcomes: list[str] = []
    started = threading.Semaphore(0)

    def call() -> None:
        with Client(server.address, timeout_seconds=PATIENCE_SECONDS, max_attempts=1) as client:
            while True:
                try:
                    outcomes.append(answered(client))
                except CallFailed as error:
                    outcomes.append(error.code.name)
                    return
                started.release()

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for _ in range(20):
        assert started.acquire(timeout=PATIENCE_SECONDS)
    assert admin.unload("net").model.live_version == ""
    for caller in callers:
        caller.join(PATIENCE_SECONDS)
    assert set(outcomes) == {"2", "NOT_FOUND"}
    assert outcomes.count("NOT_FOUND") == 4


def test_a_slow_version_on_trial_is_taken_back_while_callers_get_their_answers(root: Path) -> None:
    bounds = CanaryBounds(min_calls=10, look_every_seconds=0.01, max_more_errors=1)
    with (
        served_models(root, canary=bounds) as server,
        AdminClient(server.admin_address) as admin,
        Client(server.address, timeout_seconds=PATIENCE_SECONDS) as client,
    ):
        for number in range(20):
            answered(client, routing_key=f"player {number}")
        admin.start_canary("net", "1", 50)
        assert server._repository is not None
        slow = server._repository.router.find("net", "1")._scoring
        quick = slow.predict
        pause = threading.Event()  # never set: it only takes its time

        def slowly(requests: object) -> object:
            pause.wait(0.05)
            return quick(requests)  # type: ignore[arg-type]

        server._repository.router.find("net", "1").batcher._predict = slowly  # type: ignore[assignment]

        def is_gone() -> bool:
            for number in range(20):
                assert answered(client, routing_key=f"player {number}") in {"1", "2"}
            return not admin.list().models[0].HasField("canary")

        assert until(is_gone, seconds=PATIENCE_SECONDS)
        reason = "ms per call, the live version"
        assert until(lambda: reason in admin.list().models[0].last_canary, seconds=PATIENCE_SECONDS)


def test_a_state_that_cannot_be_written_is_a_warning(root: Path) -> None:
    with served_models(root) as server, AdminClient(server.admin_address) as admin:
        assert admin.load("net", "1").warning == ""
        remove(root, ".", "")
        root.write_text("a file where the folder was")
        assert server._repository is not None
        server._repository.record.save()
        assert "a restart will not know of it" in admin.list().warning
        root.unlink()


def test_only_an_admins_token_changes_what_is_served(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (of_callers, caller), (of_admins, admin) = tokens.mint(Role.PREDICT), tokens.mint(Role.ADMIN)
    file = tmp_path_factory.mktemp("tokens") / "tokens"
    file.write_text(f"{caller.line}\n{admin.line}\n")
    with served_models(root, tokens_file=file) as server:
        for token, code in (
            ("", grpc.StatusCode.UNAUTHENTICATED),
            (of_callers, grpc.StatusCode.PERMISSION_DENIED),
        ):
            with AdminClient(server.admin_address, timeout_seconds=PATIENCE_SECONDS, token=token) as client:
                for change in (client.list, lambda client=client: client.load("net", "1")):
                    with pytest.raises(CallFailed) as refused:
                        change()
                    assert refused.value.code is code
        with AdminClient(server.admin_address, timeout_seconds=PATIENCE_SECONDS, token=of_admins) as client:
            assert client.list().models[0].live_version == "2"
            assert client.load("net", "1").model.live_version == "1"
        bearer = (("authorization", f"Bearer {of_callers}"),)
        for path in ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "/no.such.Service/Method"):
            with grpc.insecure_channel(server.admin_address) as channel:
                stream: Any = channel.stream_stream(path)(iter(()), metadata=bearer, timeout=PATIENCE_SECONDS)
                with pytest.raises(grpc.RpcError) as denied:
                    next(stream)
            assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_open_reflection_streams_keep_no_change_waiting(server: Server, admin: AdminClient) -> None:
    with (
        grpc.insecure_channel(server.admin_address) as channel,
        open_streams(channel, 20, seconds=PATIENCE_SECONDS) as streams,
    ):
        # All have come once those that are too many are refused.
        assert until(lambda: sum(stream.done() for stream in streams) == 4, seconds=PATIENCE_SECONDS)
        assert admin.load("net", "1").model.live_version == "1"
        assert admin.rollback("net").model.live_version == "2"


def test_reflection_tells_of_the_service(server: Server) -> None:
    with grpc.insecure_channel(server.admin_address) as channel:
        assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_taken_admin_port_stops_the_start(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PlayfuseError, match=rf"127.0.0.1:{port}: .* name another port with --admin-port"):
            Server(None, ServerSettings(port=0, metrics_port=0, models=root, admin_port=port))


def test_without_models_there_is_no_admin_port(root: Path) -> None:
    server = Server(root / "net" / "1", ServerSettings(port=0, metrics_port=0))
    server.start()
    assert server.admin_address == ""
    assert server.drain()
