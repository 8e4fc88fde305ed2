from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from inference.client import CallFailed, Client, History
from inference.contract.errors import InvalidRequest, PlayfuseError
from inference.contract.features import FEATURE_NAMES
from inference.settings import Limits
from tests.support.artifacts import BEHAVIOURS, probe_rows
from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.server import Server

NOW = 1_750_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("client") / "a", limits=Limits(max_rows_per_request=64)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address, timeout_seconds=30) as client:
        yield client


def test_rows_and_features_by_name_give_equal_values(client: Client) -> None:
    rows = probe_rows(len(FEATURE_NAMES), rows=5)
    by_position = client.predict(rows=rows, nan_is_missing=True, request_id="r")
    by_name = client.predict(
        features={name: rows[:, i] for i, name in reversed(list(enumerate(FEATURE_NAMES)))}, nan_is_missing=True
    )
    assert by_position.values.shape == (5, len(BEHAVIOURS))
    assert by_position.values.tobytes() == by_name.values.tobytes()
    assert by_position.behaviours == tuple(behaviour.name for behaviour in BEHAVIOURS)
    assert (by_position.model_name, by_position.model_version) == ("testnet", "1")
    assert (by_position.request_id, by_position.degraded, by_position.dropped_sessions) == ("r", False, 0)


def test_a_behaviour_is_a_column(client: Client) -> None:
    rows = np.ones((3, len(FEATURE_NAMES)))
    prediction = client.predict(rows=rows, behaviours=("sessions_7d", "churn_7d"))
    everything = client.predict(rows=rows)
    assert prediction.behaviours == ("sessions_7d", "churn_7d")
    np.testing.assert_array_equal(prediction["churn_7d"], everything["churn_7d"])
    with pytest.raises(KeyError, match="churn_14d"):
        prediction["churn_14d"]


def test_histories_are_computed_by_the_server(client: Client) -> None:
    prediction = client.predict(
        histories=[History([NOW, NOW, NOW + 90_000], [600, 600, 60]), History([NOW], [60], [True], NOW + 500)]
    )
    assert prediction.values.shape == (2, len(BEHAVIOURS))
    assert prediction.dropped_sessions == 1


def test_the_description_is_what_the_server_serves(client: Client) -> None:
    description = client.describe()
    assert tuple(description.features) == FEATURE_NAMES
    assert description.max_rows_per_request == 64


@pytest.mark.parametrize("forms", [{}, {"rows": [[1.0]], "features": {"a": [1.0]}}, {"features": {}, "histories": []}])
def test_exactly_one_form_is_taken(client: Client, forms: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="expected one of rows, features, histories"):
        client.predict(**forms)  # type: ignore[arg-type]


def test_rows_that_are_no_matrix_are_refused_here(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"an array of shape \(3,\)"):
        client.predict(rows=[1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("forms", "said"),
    [
        ({"rows": [[1.0, 2.0], [3.0]]}, r"rows: got .*inhomogeneous.* expected numbers \(players, features\)"),
        ({"rows": [["many"]]}, "rows: got .*'many'"),
        ({"features": {"sessions_7d": ["many"]}}, "features: got .* expected one number per player for each feature"),
        ({"histories": [History([10**20], [60])]}, "histories: got .*out of range.* whole seconds that fit 64 bits"),
        ({"histories": [History([1.5], [60])]}, "histories: got .* whole seconds"),  # type: ignore[list-item]
    ],
)
def test_what_cannot_be_sent_is_refused_here(client: Client, forms: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        client.predict(**forms)  # type: ignore[arg-type]


@pytest.mark.parametrize("forms", [{"features": {}}, {"histories": []}, {"rows": np.ones((65, len(FEATURE_NAMES)))}])
def test_a_refusal_carries_the_status_and_the_servers_words(client: Client, forms: dict[str, object]) -> None:
    with pytest.raises(CallFailed, match=r"INVALID_ARGUMENT: .* expected ") as refused:
        client.predict(**forms)  # type: ignore[arg-type]
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details in str(refused.value)
    assert isinstance(refused.value, PlayfuseError)


@pytest.mark.parametrize("attempts", [1, 2])
def test_where_nobody_listens_the_error_says_what_to_do(attempts: int) -> None:
    with (
        Client("127.0.0.1:1", timeout_seconds=5, max_attempts=attempts) as client,
        pytest.raises(CallFailed, match="playfuse serve --demo") as refused,
    ):
        client.describe()
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE


def test_waiting_for_a_server_ends(server: Server) -> None:
    with Client(server.address) as client:
        client.wait_until_ready(30)
    with (
        Client("127.0.0.1:1") as client,
        pytest.raises(CallFailed, match=r"UNAVAILABLE: no connection within 0.1 s.*playfuse serve --demo"),
    ):
        client.wait_until_ready(0.1)


def test_a_call_that_the_server_pushed_back_is_tried_again() -> None:
    """A server that refuses the first two tries, with a pause to keep, and takes the third."""
    from concurrent.futures import ThreadPoolExecutor

    from inference.calls import PUSHBACK_KEY
    from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
    from inference.services.player_behavior import SERVICE

    tries: list[str] = []

    def predict(message: bytes, context: grpc.ServicerContext) -> bytes:
        tries.append(dict(context.invocation_metadata()).get("grpc-previous-rpc-attempts", "0"))  # type: ignore[arg-type]
        if len(tries) < 3:
            context.set_trailing_metadata(((PUSHBACK_KEY, "1"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return pb.PredictResponse(model_name="third").SerializeToString()

    server = grpc.server(ThreadPoolExecutor(2))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}", timeout_seconds=30) as client:
            assert client.predict(rows=[[1.0]]).model_name == "third"
    finally:
        server.stop(None).wait()
    assert tries == ["0", "1", "2"]
