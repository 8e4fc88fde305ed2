"""Triton's client from PyPI, unmodified, against a whole server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from inference.client import Client
from inference.contract.features import FEATURE_NAMES
from inference.services.model_infer import SERVICE
from tests.support.artifacts import BEHAVIOURS, probe_rows
from tests.support.repositories import damage, served_models, write_versions
from tests.support.serving import served
from tests.support.triton import Refusal, TritonClient, triton_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inference.server import Server

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 30.0
TRANSPORTS = ["native", "grpcio"]

ROWS = np.nan_to_num(probe_rows(len(FEATURE_NAMES)), nan=1.0)
NAMES = [behaviour.name for behaviour in BEHAVIOURS]


@pytest.fixture(scope="module", params=TRANSPORTS)
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("served") / "artifact", transport=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[TritonClient]:
    with triton_client(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def expected(server: Server) -> Any:
    with Client(server.address, timeout_seconds=30) as ours:
        return ours.predict(rows=ROWS).values


def values_of(result: Any, name: str) -> Any:
    output = result["outputs"][name]
    return np.frombuffer(bytes.fromhex(output["hex"]), "<f4").reshape(output["shape"])


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("is_server_live", {}),
        ("is_server_ready", {}),
        ("is_model_ready", {"model_name": "testnet"}),
        ("is_model_ready", {"model_name": "testnet", "model_version": "1"}),
    ],
)
def test_it_is_ready(client: TritonClient, method: str, options: dict[str, str]) -> None:
    assert client.call(method, **options) is True


def test_unknown_models_are_not_ready(client: TritonClient) -> None:
    assert client.call("is_model_ready", model_name="nothing") is False
    assert client.call("is_model_ready", model_name="testnet", model_version="2") is False


def test_metadata(client: TritonClient) -> None:
    about = client.call("get_server_metadata", as_json=True)
    assert about["name"] == "playfuse"
    assert about["extensions"] == ["model_configuration", "parameters", "schedule_policy", "statistics"]
    model = client.call("get_model_metadata", model_name="testnet", as_json=True)
    assert model == {
        "name": "testnet",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "features", "datatype": "FP32", "shape": ["-1", str(len(FEATURE_NAMES))]}],
        "outputs": [{"name": "predictions", "datatype": "FP32", "shape": ["-1", str(len(NAMES))]}],
    }


def test_configuration(client: TritonClient) -> None:
    config = client.call("get_model_config", model_name="testnet", as_json=True)["config"]
    assert (config["name"], config["max_batch_size"]) == ("testnet", 1_024)
    assert config["input"] == [{"name": "features", "data_type": "TYPE_FP32", "dims": [str(len(FEATURE_NAMES))]}]
    assert config["output"] == [{"name": "predictions", "data_type": "TYPE_FP32", "dims": [str(len(NAMES))]}]
    assert config["dynamic_batching"]["priority_levels"] == "3"
    assert json.loads(config["parameters"]["features"]["string_value"]) == list(FEATURE_NAMES)
    assert json.loads(config["parameters"]["behaviours"]["string_value"]) == NAMES


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model_version": "1"},
        {"request_id": "match-17"},
        {"priority": 3, "timeout": 30_000_000},
        {"parameters": {"routing_key": "lobby-4", "nan_is_missing": True}},
    ],
)
def test_the_answers_are_those_of_predict(client: TritonClient, expected: Any, options: dict[str, Any]) -> None:
    for _ in range(2):  # the second time the shape of the message is known
        result = client.infer({"features": ROWS.tolist()}, **options)
        assert values_of(result, "predictions").tobytes() == expected.tobytes()
        assert (result["model_name"], result["model_version"]) == ("testnet", "1")
        assert result["id"] == options.get("request_id", "")
        assert not result["degraded"]


def test_only_the_outputs_asked_for_come_in_their_order(client: TritonClient, expected: Any) -> None:
    result = client.infer({"features": ROWS.tolist()}, outputs=["sessions_7d", "churn_7d"])
    assert list(result["outputs"]) == ["sessions_7d", "churn_7d"]
    for name in result["outputs"]:
        np.testing.assert_array_equal(values_of(result, name), expected[:, NAMES.index(name)])
    both = client.infer({"features": ROWS.tolist()}, outputs=["churn_7d", "predictions"])
    assert list(both["outputs"]) == ["churn_7d", "predictions"]
    np.testing.assert_array_equal(values_of(both, "predictions"), expected)
    np.testing.assert_array_equal(values_of(both, "churn_7d"), expected[:, 0])


def test_features_by_name(client: TritonClient, server: Server) -> None:
    with Client(server.address, timeout_seconds=30) as ours:
        reference = ours.predict(features={"sessions_7d": [1.0, 2.0]}).values
    for column in ([1.0, 2.0], [[1.0], [2.0]]):
        result = client.infer({"sessions_7d": column})
        assert values_of(result, "predictions").tobytes() == reference.tobytes()


@pytest.mark.parametrize(
    ("inputs", "options", "status", "said"),
    [
        ({"features": ROWS.tolist()}, {"model_name": "nothing"}, "NOT_FOUND", "nothing"),
        ({"features": ROWS.tolist()}, {"model_name": "é" * 100_000}, "NOT_FOUND", "got model ééé"),
        ({"features": ROWS.tolist()}, {"timeout": 1}, "DEADLINE_EXCEEDED", "the deadline had passed on arrival"),
        ({"features": ROWS.tolist()}, {"model_version": "9"}, "NOT_FOUND", "version 9"),
        ({"features": ROWS.tolist()}, {"dtype": "float64"}, "INVALID_ARGUMENT", "got 'FP64', expected FP32"),
        ({"features": [[1.0]]}, {}, "INVALID_ARGUMENT", "inputs[0].shape: got [1, 1], expected [rows,"),
        ({"sesions_7d": [1.0]}, {}, "INVALID_ARGUMENT", "Did you mean 'sessions_7d'?"),
        ({"features": ROWS.tolist()}, {"outputs": ["churn"]}, "INVALID_ARGUMENT", "Did you mean 'churn_7d'?"),
        ({"features": ROWS.tolist()}, {"priority": 4}, "INVALID_ARGUMENT", "parameters[priority]: got 4"),
        ({"features": ROWS.tolist()}, {"sequence_id": 5}, "INVALID_ARGUMENT", "'sequence_"),
        ({"features": (ROWS * np.nan).tolist()}, {}, "INVALID_ARGUMENT", "Set nan_is_missing"),
    ],
)
def test_what_is_wrong_is_told(
    client: TritonClient, inputs: dict[str, Any], options: dict[str, Any], status: str, said: str
) -> None:
    with pytest.raises(Refusal) as refused:
        client.infer(inputs, **options)
    assert refused.value.status == status
    assert said in refused.value.message


def test_statistics_count_what_was_answered(client: TritonClient) -> None:
    def read() -> Any:
        (of_model,) = client.call("get_inference_statistics", model_name="testnet", as_json=True)["model_stats"]
        return of_model

    client.infer({"features": ROWS.tolist()})
    before = read()
    client.infer({"features": ROWS.tolist()})
    after = read()
    assert int(after["inference_count"]) - int(before["inference_count"]) == len(ROWS)
    assert int(after["execution_count"]) - int(before["execution_count"]) == 1
    assert int(after["last_inference"]) >= int(before["last_inference"]) > 0
    old, new = before["inference_stats"], after["inference_stats"]
    for part in ("success", "queue", "compute_infer"):
        assert int(new[part]["count"]) - int(old[part]["count"]) == 1
        assert int(new[part]["ns"]) > int(old[part]["ns"])
    assert int(new["success"]["ns"]) == pytest.approx(int(new["queue"]["ns"]) + int(new["compute_infer"]["ns"]), abs=2)
    assert "compute_input" not in new, "it is not measured"


def test_one_artifact_is_listed_and_not_controlled(client: TritonClient) -> None:
    index = client.call("get_model_repository_index", as_json=True)
    assert index == {"models": [{"name": "testnet", "version": "1", "state": "READY"}]}
    for method in ("load_model", "unload_model"):
        with pytest.raises(Refusal) as refused:
            client.call(method, model_name="testnet")
        assert refused.value.status == "PERMISSION_DENIED"
        assert "allow_repository_control" in refused.value.message


@pytest.fixture(params=TRANSPORTS)
def controlled(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[TritonClient]:
    for name in ("one", "two"):
        write_versions(tmp_path, name, ["1"])
    damage(tmp_path, "two", "1")
    with (
        served_models(tmp_path, allow_repository_control=True, transport=request.param) as server,
        triton_client(server.address) as client,
    ):
        yield client


def test_models_are_loaded_and_unloaded_where_that_is_allowed(controlled: TritonClient) -> None:
    assert "model_repository" in controlled.call("get_server_metadata", as_json=True)["extensions"]
    index = controlled.call("get_model_repository_index", as_json=True)["models"]
    assert [(model["name"], model["state"]) for model in index] == [("one", "READY"), ("two", "UNAVAILABLE")]
    assert ["reason" in model for model in index] == [False, True]
    assert index[1]["reason"] == "it could not be loaded; the server's log and its admin's port tell why"
    rows = {"features": ROWS.tolist()}
    first = controlled.infer(rows, model_name="one")
    controlled.call("unload_model", model_name="one")
    assert controlled.call("is_model_ready", model_name="one") is False
    with pytest.raises(Refusal, match="NOT_FOUND"):
        controlled.infer(rows, model_name="one")
    controlled.call("load_model", model_name="one")
    assert controlled.infer(rows, model_name="one") == first
    for name, status in (("two", "FAILED_PRECONDITION"), ("three", "NOT_FOUND")):
        with pytest.raises(Refusal, match=status):
            controlled.call("load_model", model_name=name)
    with pytest.raises(Refusal, match="INVALID_ARGUMENT"):
        controlled.call("load_model", model_name="one", config="{}")


def test_health_and_reflection_tell_of_the_service(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        status = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service=SERVICE), timeout=PATIENCE_SECONDS
        )
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        database = ProtoReflectionDescriptorDatabase(channel)
        assert SERVICE in database.get_services()
        described = DescriptorPool(database).FindServiceByName(SERVICE)
        assert described.methods_by_name["ModelInfer"].input_type.full_name == "inference.ModelInferRequest"
