"""Whatever comes, from callers, from operators or from the environment: an answer, or a fault that is named.

Never a crash, never a hang, never INTERNAL. `test_codec.py` has the messages' own decoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.calls import Answering, Call, Status
from inference.configuration import load
from inference.contract.errors import PlayfuseError
from inference.contract.features import FEATURE_NAMES
from inference.engine import Engine
from inference.metrics import CallMetrics
from inference.models import OneModel, ServedModel
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.security import tokens
from inference.security.tokens import Role, Tokens, mint
from inference.services.player_behavior import DescribeModel, Predict
from inference.settings import Limits
from tests.property.test_codec import REQUESTS
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest
from tests.support.fuzzing import FUZZED
from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from inference.server import Server

SECRET, TOKEN = mint(Role.PREDICT)
ADMIN_SECRET, ADMIN = mint(Role.ADMIN)
TOKENS = Tokens([TOKEN, ADMIN])
NAMED_FAULTS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}

GRAPH = build_graph(len(FEATURE_NAMES), BEHAVIOURS)
LIMITS = Limits(max_rows_per_request=8, max_sessions_per_request=64)
MODELS = OneModel(ServedModel(make_manifest(GRAPH, FEATURE_NAMES, BEHAVIOURS), Engine.from_bytes(GRAPH), LIMITS))
PREDICT, DESCRIBE = Predict(MODELS), DescribeModel(MODELS, LIMITS)
METRICS = CallMetrics(["Predict", "DescribeModel"])
ANSWERING = Answering(METRICS, max_wait_seconds=30.0)


@st.composite
def changed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A message, and one that is like it but for a few bytes."""
    message = draw(REQUESTS)
    if draw(st.booleans()):
        message.model_name, message.model_version = draw(st.sampled_from(["testnet", "x"])), draw(st.text(max_size=2))
    whole = message.SerializeToString()
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 3))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return whole, bytes(content[: draw(st.integers(len(content) // 2, len(content)))])


def fault_of(call: Callable[[], object]) -> PlayfuseError | None:
    """What it raises; none where it does not."""
    try:
        call()
    except PlayfuseError as error:
        return error
    return None


def answered(message: bytes) -> bytes | Status:
    return ANSWERING.score(PREDICT, Call(message, 0.0, float("inf")))


def check(outcome: bytes | Status) -> None:
    if isinstance(outcome, Status):
        assert outcome.code in NAMED_FAULTS, outcome
        assert "expected" in outcome.details
        assert len(outcome.details) < 4_000


@FUZZED
@given(changed())
def test_predict_answers_or_names_the_fault_and_knows_no_shape_wrongly(messages: tuple[bytes, bytes]) -> None:
    for message in messages:
        outcome = answered(message)
        check(outcome)
        # What the first call learnt of the shape must not change what the second one gets.
        assert answered(message) == outcome
        quick = PREDICT.quick(message)
        if quick is not None:
            assert quick == Predict(MODELS).decode(message)


@FUZZED
@given(st.binary(max_size=200) | st.builds(pb.DescribeModelRequest, model_name=st.text(), model_version=st.text()))
def test_describe_answers_or_names_the_fault(message: bytes | pb.DescribeModelRequest) -> None:
    content = message if isinstance(message, bytes) else message.SerializeToString()
    check(ANSWERING.answer(DESCRIBE, Call(content, 0.0, float("inf"))))


WORDS = st.sampled_from(
    ["predict", "admin", "root", "#", TOKEN.digest.hex(), ADMIN.digest.hex().upper(), SECRET, "a" * 64, "lobby", "\x00"]
)
LINES = st.lists(WORDS | st.text(max_size=12), max_size=4).map(" ".join) | st.text(max_size=80)


@FUZZED
@given(st.lists(LINES, max_size=5))
def test_a_tokens_file_is_read_or_its_line_is_named_and_not_quoted(lines: list[str]) -> None:
    fault = fault_of(lambda: tokens.parse(lines, "tokens file"))
    if fault is not None:
        assert fault.where.startswith("tokens file")
        assert SECRET not in str(fault)
        return
    role = tokens.parse(lines, "").role_of([("authorization", f"Bearer {SECRET}")])
    assert role is None or any(line.split()[:2] == [role.value, TOKEN.digest.hex()] for line in lines)


VALUES = (
    st.text(max_size=60)
    | st.binary(max_size=60)
    | st.sampled_from(
        [f"Bearer {SECRET}", f"bearer {ADMIN_SECRET}", f"Bearer {SECRET} x", f"Basic {SECRET}", SECRET, "Bearer "]
    )
)
KEYS = st.sampled_from(["authorization", "Authorization", "x-token"]) | st.text(max_size=15)


@FUZZED
@given(st.lists(st.tuples(KEYS, VALUES), max_size=4))
def test_only_a_token_gives_a_role(metadata: list[tuple[str, str | bytes]]) -> None:
    role = TOKENS.role_of(metadata)
    shown = [value for key, value in metadata if key == "authorization"]
    if role is not None:
        (value,) = shown
        assert {Role.PREDICT: SECRET, Role.ADMIN: ADMIN_SECRET}[role] in str(value)
    elif len(shown) == 1:
        assert shown[0] not in (f"Bearer {SECRET}", f"bearer {ADMIN_SECRET}")


NAMES = st.sampled_from(
    ["host", "port", "workers", "threads", "limits", "tls", "max_batch_rows", "limits.max_batch_rows", "tls.key_file"]
) | st.text(alphabet="abp_.[]\"' ", max_size=12)
TOML_VALUES = st.sampled_from(
    ["1", "-1", "1e400", "nan", "'x'", '"\\u0000"', "true", "[]", "{}", "{a = 1}", "1979-05-27", "9" * 5_000, "'auto'"]
) | st.text(max_size=12)
TOML_LINES = st.builds("{} = {}".format, NAMES, TOML_VALUES) | st.builds("[{}]".format, NAMES) | st.text(max_size=30)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "server.toml"


@FUZZED
@given(lines=st.lists(TOML_LINES, max_size=6))
def test_a_settings_file_is_read_or_its_fault_is_named(file: Path, lines: list[str]) -> None:
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    fault = fault_of(lambda: load(file, environment={}))
    if fault is not None:
        assert str(file) in fault.where
        assert len(str(fault)) < 4_000


VARIABLES = st.sampled_from(
    [
        *("PLAYFUSE_PORT", "PLAYFUSE_WORKERS", "PLAYFUSE_LIMITS__MAX_BATCH_ROWS", "PLAYFUSE_TLS__KEY_FILE"),
        *("PLAYFUSE_DATA", "PLAYFUSE_LIMITS", "PLAYFUSE_", "PLAYFUSE__PORT", "PLAYFUSE_PORT__X", "playfuse_port"),
    ]
) | st.builds("PLAYFUSE_{}".format, st.text(max_size=12))


@FUZZED
@given(st.dictionaries(VARIABLES, st.sampled_from(["1", "0", "auto", "{}", "[", "tcp://x"]) | st.text(max_size=12)))
def test_the_environment_is_read_or_its_variable_is_named(environment: dict[str, str]) -> None:
    fault = fault_of(lambda: load(environment=environment))
    if fault is not None:
        assert "environment" in fault.where
        assert len(str(fault)) < 4_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "tokens").write_text(f"{TOKEN.line}\n{ADMIN.line}\n")
    with served(folder / "a", tokens_file=folder / "tokens", limits=LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as channel:
        yield channel


ASCII = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
WIRE_METADATA = st.lists(
    st.tuples(st.sampled_from(["authorization", "x-any", "grpc-timeout-x"]), ASCII)
    | st.tuples(st.just("any-bin"), st.binary(max_size=40))
    | st.tuples(st.just("authorization"), st.sampled_from([f"Bearer {SECRET}", f"Bearer {ADMIN_SECRET}"])),
    max_size=3,
)
PATHS = st.sampled_from(
    [
        *("/playfuse.v1.PlayerBehavior/Predict", "/playfuse.v1.PlayerBehavior/DescribeModel"),
        *("/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
        *("/inference.GRPCInferenceService/RepositoryModelLoad", "/none/None"),
    ]
)
ANSWERS = {
    *NAMED_FAULTS,
    grpc.StatusCode.OK,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}


@FUZZED
@given(
    path=PATHS,
    metadata=WIRE_METADATA,
    message=st.binary(max_size=80) | REQUESTS.map(pb.PredictRequest.SerializeToString),
)
def test_over_the_wire_every_call_ends_with_a_status_that_names_the_fault(
    channel: Any, path: str, metadata: list[tuple[str, str | bytes]], message: bytes
) -> None:
    code = grpc.StatusCode.OK
    try:
        if path.endswith("Info"):
            list(channel.stream_stream(path)(iter([message]), metadata=metadata, timeout=30))
        else:
            channel.unary_unary(path)(message, metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        code = cast("grpc.Call", error).code()
    assert code in ANSWERS, (code, path)
    assert code is not grpc.StatusCode.OK or path == "/grpc.health.v1.Health/Check" or TOKENS.role_of(metadata)


def test_nothing_was_left_behind() -> None:
    """After all these inputs the model still answers."""
    request = pb.PredictRequest(
        named_features=pb.NamedFeatures(columns=[pb.FeatureColumn(name=FEATURE_NAMES[0], values=[1.0])])
    )
    assert isinstance(answered(request.SerializeToString()), bytes)
    assert MODELS.served()[0].batcher.waiting_rows == 0
