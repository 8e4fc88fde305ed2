"""Every method of every service, of every shape, over a real connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference.client import CallFailed, Client
from inference.contract.features import FEATURE_NAMES
from inference.metrics import CallMetrics
from inference.refusals import PermissionDenied, Unauthenticated
from inference.security.guard import Access, Guard
from inference.security.tokens import Role, Tokens, mint
from playfuse.demo.metrics import Scrape
from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inference.server import Server

SECRET, TOKEN = mint(Role.PREDICT)
ADMIN_SECRET, ADMIN = mint(Role.ADMIN)
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
BEARER = (("authorization", f"Bearer {SECRET}"),)
PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module", params=["grpcio", "native"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guard")
    (folder / "tokens").write_text(f"{TOKEN.line}\n{ADMIN.line}\n")
    settings = {"tokens_file": folder / "tokens", "transport": request.param, "allow_repository_control": True}
    with served(folder / "a", **settings) as server:
        yield server


@pytest.fixture
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call of whatever shape ends."""
    try:
        call()
    except grpc.RpcError as error:
        ended = cast("grpc.Call", error)
        return ended.code(), ended.details() or ""
    return grpc.StatusCode.OK, ""


def rejected(server: Server, reason: str) -> float:
    return Scrape.read(server.metrics_url).total("playfuse_rejected_total", reason=reason)


def ended(server: Server, code: str) -> float:
    return Scrape.read(server.metrics_url).total("playfuse_request_seconds_count", code=code)


def test_a_caller_with_a_token_is_answered(server: Server) -> None:
    for secret in (SECRET, ADMIN_SECRET):
        with Client(server.address, timeout_seconds=PATIENCE_SECONDS, token=secret) as client:
            assert client.predict(rows=[[1.0] * len(FEATURE_NAMES)]).values.shape == (1, 8)
            assert client.describe().model_name == "testnet"


@pytest.mark.parametrize("secret", ["", "pf_wrong", SECRET[:-1]], ids=["empty", "unknown", "shortened"])
def test_others_are_not_and_are_counted(server: Server, secret: str) -> None:
    before, ended_before = rejected(server, "unauthenticated"), ended(server, "UNAUTHENTICATED")
    with Client(server.address, timeout_seconds=PATIENCE_SECONDS, token=secret) as client:
        for call in (client.describe, lambda: client.predict(features={"sessions_7d": [1.0]})):
            with pytest.raises(CallFailed) as refused:
                call()
            assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED
            assert refused.value.details == "a valid bearer token is needed"
            assert "PLAYFUSE_CLIENT_TOKEN" in refused.value.fix
    assert rejected(server, "unauthenticated") == before + 2
    assert ended(server, "UNAUTHENTICATED") == ended_before + 2


def test_streams_and_unknown_methods_are_no_way_round(channel: Any) -> None:
    """Nor do they tell what there is; and a caller that never sends a message is answered as well."""

    def silent() -> Iterator[bytes]:
        yield from ()

    for path in (REFLECTION, "/no.such.Service/Method"):
        stream = channel.stream_stream(path)
        code, _ = code_of(lambda stream=stream: list(stream(silent(), timeout=PATIENCE_SECONDS)))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        unary = channel.unary_stream(path)
        code, _ = code_of(lambda unary=unary: list(unary(b"", timeout=PATIENCE_SECONDS)))
        assert code is grpc.StatusCode.UNAUTHENTICATED
    known = channel.unary_unary("/no.such.Service/Method")
    code, _ = code_of(lambda: known(b"", metadata=BEARER, timeout=PATIENCE_SECONDS))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    reflect = channel.stream_stream(REFLECTION)
    code, _ = code_of(lambda: list(reflect(silent(), metadata=BEARER, timeout=PATIENCE_SECONDS)))
    assert code is grpc.StatusCode.OK


def test_health_is_open_to_all(channel: Any) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS).status == 1


def test_the_wrong_role_is_denied_and_counted(server: Server, channel: Any) -> None:
    before = rejected(server, "permission_denied")
    call = channel.unary_unary(LOAD)
    code, details = code_of(lambda: call(b"", metadata=BEARER, timeout=PATIENCE_SECONDS))
    assert (code, details) == (grpc.StatusCode.PERMISSION_DENIED, "a token with the role admin is needed")
    assert rejected(server, "permission_denied") == before + 1
    admin = (("authorization", f"Bearer {ADMIN_SECRET}"),)
    code, details = code_of(lambda: call(b"", metadata=admin, timeout=PATIENCE_SECONDS))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "serves one artifact for good" in (details or "")


def test_admin_methods_are_named_whole_or_by_service() -> None:
    access = Access(Tokens([TOKEN]), ("/a.B/", "/c.D/E"))
    for path in ("/a.B/X", "/a.B/", "/c.D/E"):
        with pytest.raises(PermissionDenied):
            access.check(path, BEARER)
    for path in ("/a.Bc/X", "/c.D/Else", "/c.D/F"):
        access.check(path, BEARER)


@pytest.mark.parametrize(
    "path", ["/grpc.health.v1.Health", "/grpc.health.v1.HealthX/Check", "//grpc.health.v1.Health/Check"]
)
def test_only_health_itself_is_open(path: str) -> None:
    with pytest.raises(Unauthenticated):
        Access(Tokens([TOKEN])).check(path, ())


@pytest.mark.parametrize(
    ("transport", "refusal"),
    # The native front answers with HTTP's own status 431, which clients have no gRPC status for.
    [("grpcio", grpc.StatusCode.RESOURCE_EXHAUSTED), ("native", grpc.StatusCode.UNKNOWN)],
)
def test_metadata_over_the_limit_is_refused(tmp_path: Path, transport: str, refusal: grpc.StatusCode) -> None:
    with served(tmp_path / "a", transport=transport) as server, grpc.insecure_channel(server.address) as channel:
        call: Any = channel.unary_unary("/playfuse.v1.PlayerBehavior/DescribeModel")
        fits = (("x-fits", "v" * 6_000),)
        assert code_of(lambda: call(b"", metadata=fits, timeout=PATIENCE_SECONDS))[0] is grpc.StatusCode.OK
        large = (("x-large", "v" * 9_000),)
        code, _ = code_of(lambda: call(b"", metadata=large, timeout=PATIENCE_SECONDS))
        assert code is refusal


def test_refusals_do_not_wait_for_a_calling_thread() -> None:
    guard = Guard(Access(Tokens([TOKEN])), CallMetrics(["Predict"]))
    try:
        details = type("Details", (), {"method": "/a.B/C", "invocation_metadata": ()})()
        handler = guard.intercept_service(lambda _: None, details)
        assert handler.stream_stream.experimental_thread_pool is guard._pool
    finally:
        guard.close()
