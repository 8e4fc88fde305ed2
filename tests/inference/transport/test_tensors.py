from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inference.contract.errors import InvalidRequest
from inference.core import Core, Priority, Response
from inference.engine import Engine
from inference.models import OneModel, ServedModel
from inference.pb.inference import grpc_service_pb2 as pb
from inference.services.model_infer import ModelInfer
from inference.settings import Limits
from inference.transport import parameters
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest

if TYPE_CHECKING:
    from inference.calls import Asked

FEATURES = ("recency_hours", "sessions_7d", "gap_1_hours")
MODEL = build_graph(len(FEATURES), BEHAVIOURS)
MANIFEST = make_manifest(MODEL, FEATURES, BEHAVIOURS)
LIMITS = Limits(max_rows_per_request=4)
CORE = Core(Engine.from_bytes(MODEL), MANIFEST)
VALUES = np.arange(6, dtype="<f4")


def method() -> ModelInfer:
    return ModelInfer(OneModel(ServedModel(MANIFEST, Engine.from_bytes(MODEL), LIMITS)), LIMITS)


def tensor(name: str, shape: list[int], typed: list[float] | None = None, datatype: str = "FP32", **extra: Any) -> Any:
    contents = None if typed is None else pb.InferTensorContents(fp32_contents=typed)
    return pb.ModelInferRequest.InferInputTensor(name=name, shape=shape, datatype=datatype, contents=contents, **extra)


def matrix(rows: int = 2, **extra: Any) -> Any:
    return tensor("features", [rows, 3], **extra)


def message(*inputs: Any, raw: list[bytes] | None = None, **fields: Any) -> pb.ModelInferRequest:
    outputs = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in fields.pop("outputs", [])]
    return pb.ModelInferRequest(inputs=inputs, raw_input_contents=raw, outputs=outputs, **fields)


def parameter(**kind: Any) -> pb.InferParameter:
    return pb.InferParameter(**kind)


def plain(**fields: Any) -> pb.ModelInferRequest:
    return message(matrix(), raw=[VALUES.tobytes()], **fields)


def answered(sent: pb.ModelInferRequest, infer: ModelInfer | None = None) -> pb.ModelInferResponse:
    infer = infer or method()
    model, request, _ = infer.decode(sent.SerializeToString())
    (answer,) = CORE.predict([request])
    assert isinstance(answer, Response)
    return pb.ModelInferResponse.FromString(infer.encode(model, answer))


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (message(), "inputs: got none, expected features, or features by name."),
        (message(matrix()), "inputs[0].contents.fp32_contents: got 0 values, expected 6, as the shape says."),
        (message(matrix(typed=[1.0])), "inputs[0].contents.fp32_contents: got 1 values, expected 6"),
        (message(matrix(), raw=[b"1234"]), "raw_input_contents[0]: got 4 bytes, expected 24: 6 values of FP32"),
        (message(matrix(), raw=[b"", b""]), "raw_input_contents: got 2 of them, expected 1, one per input."),
        (message(matrix(typed=[1.0]), raw=[b""]), "inputs[0].contents: got fp32_contents, expected nothing: raw_input"),
        (message(matrix(datatype="INT64")), "inputs[0].datatype: got 'INT64', expected FP32. Convert"),
        (message(matrix(0), raw=[b""]), "inputs[0].shape: got 0 players, expected 1 to 4"),
        (message(matrix(-1), raw=[b""]), "inputs[0].shape: got -1 players, expected 1 to 4"),
        (message(matrix(5), raw=[b""]), "inputs[0].shape: got 5 players, expected 1 to 4 in one request. Split"),
        (message(tensor("features", [3])), "inputs[0].shape: got [3], expected [rows, 3]."),
        (message(tensor("features", [1] * 99)), "inputs[0].shape: got [1, 1, 1, 1, 1, 1, 1, 1, …], expected"),
        (message(matrix(), matrix()), "inputs[0].name: got 'features' among others, expected features alone"),
        (message(tensor("x" * 999, [1])), "inputs[0].name: got 'xxx"),
        (message(tensor("sessions_7d", [2, 2])), "inputs[0].shape: got [2, 2], expected [rows] or [rows, 1]."),
        (
            message(tensor("sessions_7d", [1], [1.0]), tensor("sessions_7d", [1], [1.0])),
            "inputs[1].name: got 'sessions_7d' again",
        ),
        (
            message(tensor("sessions_7d", [1], [1.0]), tensor("gap_1_hours", [2], [1.0, 1.0])),
            "inputs[1]: got 2 values of gap_1_hours, expected 1, as many as in the first column.",
        ),
        (
            message(tensor("sessions_7d", [1], [math.nan])),
            "inputs[0] row 0, feature sessions_7d: got nan, expected a finite number. Set nan_is_missing",
        ),
        (
            message(tensor("features", [1, 3], parameters={"shared_memory_region": parameter(string_param="r")})),
            "inputs[0].parameters: got 'shared_memory_region', expected none",
        ),
        (plain(outputs=["churn_7d", "churn_7d"]), "outputs[1].name: got 'churn_7d' again, expected each output once."),
        (plain(id="x" * 129), "id: got 129 bytes, expected at most 128."),
        (
            plain(parameters={"priority": parameter(string_param="1")}),
            "parameters[priority]: got string_param, expected",
        ),
        (
            plain(parameters={"timeout": parameter(int64_param=-1)}),
            "parameters[timeout]: got -1, expected microseconds",
        ),
        (plain(parameters={"nan_is_missing": parameter()}), "parameters[nan_is_missing]: got no value, expected bool"),
        (plain(parameters={"timeot": parameter(int64_param=1)}), "parameters: got 'timeot', expected a parameter of"),
    ],
)
def test_what_is_wrong_is_named(sent: pb.ModelInferRequest, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        method().decode(sent.SerializeToString())
    assert str(refused.value).startswith(said)
    assert len(str(refused.value)) < 2_000


def test_contents_of_another_type_are_refused() -> None:
    contents = pb.InferTensorContents(fp64_contents=[1.0])
    sent = message(
        pb.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=[1, 3], contents=contents)
    )
    with pytest.raises(InvalidRequest, match="got fp64_contents, expected fp32_contents for FP32"):
        method().decode(sent.SerializeToString())


@pytest.mark.parametrize("outputs", [[], ["predictions"], ["churn_7d"], ["sessions_7d", "predictions", "churn_7d"]])
def test_typed_and_raw_requests_get_the_same_values_each_in_its_form(outputs: list[str]) -> None:
    raw = answered(plain(outputs=outputs, id="r"))
    typed = answered(message(matrix(typed=VALUES.tolist()), outputs=outputs, id="r"))
    assert [output.name for output in raw.outputs] == [
        output.name for output in typed.outputs
    ] == outputs or not outputs
    assert not typed.raw_output_contents
    for position, (one, other) in enumerate(zip(raw.outputs, typed.outputs, strict=True)):
        assert (one.name, one.datatype, one.shape) == (other.name, other.datatype, other.shape)
        values = np.array(other.contents.fp32_contents, "<f4")
        assert raw.raw_output_contents[position] == values.tobytes()
        assert values.size == math.prod(one.shape)
    assert (raw.id, typed.id) == ("r", "r")


def test_the_priors_are_marked_in_both_forms() -> None:
    infer = method()
    for sent in (plain(outputs=["churn_14d"]), message(matrix(typed=VALUES.tolist()))):
        model, request, _ = infer.decode(sent.SerializeToString())
        for degraded in (True, False):
            (answer,) = CORE.predict([request])
            assert isinstance(answer, Response)
            reply = pb.ModelInferResponse.FromString(infer.encode(model, answer._replace(degraded=degraded)))
            assert ("degraded" in reply.parameters) == degraded
            assert reply.parameters["degraded"].bool_param == degraded


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({}, parameters.Parameters()),
        ({"priority": parameter(uint64_param=3)}, parameters.Parameters(priority=Priority.ANALYTICS)),
        ({"priority": parameter(int64_param=1)}, parameters.Parameters(priority=Priority.LIVE_MATCH)),
        ({"timeout": parameter(int64_param=1_500_000)}, parameters.Parameters(timeout_seconds=1.5)),
        ({"timeout": parameter(int64_param=0)}, parameters.Parameters()),
        ({"content_type": parameter(string_param="np")}, parameters.Parameters()),
        ({"routing_key": parameter(string_param="k")}, parameters.Parameters(routing_key="k")),
        ({"nan_is_missing": parameter(bool_param=True)}, parameters.Parameters(nan_is_missing=True)),
    ],
)
def test_parameters(sent: dict[str, Any], expected: parameters.Parameters) -> None:
    assert parameters.read(sent, LIMITS) == expected


def quickly(infer: ModelInfer, sent: bytes) -> Asked:
    asked = infer.quick(sent)
    assert asked is not None
    return asked


@pytest.mark.parametrize("names", [{}, {"model_name": "testnet"}, {"model_name": "testnet", "model_version": "1"}])
@pytest.mark.parametrize(
    "settings", [{}, {"timeout": parameter(int64_param=7), "nan_is_missing": parameter(bool_param=True)}]
)
def test_a_shape_is_learnt_and_means_the_same_around_other_values(names: dict[str, str], settings: Any) -> None:
    infer = method()
    first = plain(parameters=settings, outputs=["churn_7d"], id="first", **names).SerializeToString()
    assert infer.quick(first) is None
    infer.decode(first)
    for request_id in ("first", "", "é" * 40):
        sent = message(matrix(), raw=[(VALUES + 1).tobytes()], parameters=settings, outputs=["churn_7d"], **names)
        sent.id = request_id
        content = sent.SerializeToString()
        asked = quickly(infer, content)
        assert asked.request == method().decode(content).request
        assert asked.timeout_seconds == method().decode(content).timeout_seconds
    assert infer.quick(plain(parameters=settings, id="first", **names).SerializeToString()) is None


def test_a_routing_key_is_never_learnt() -> None:
    infer = method()
    content = plain(parameters={"routing_key": parameter(string_param="k")}).SerializeToString()
    infer.decode(content)
    assert infer.quick(content) is None


def test_values_that_only_look_like_the_last_field_are_not_learnt() -> None:
    infer = method()
    # An unknown field behind the values, which holds the same bytes.
    content = plain().SerializeToString() + b"\x7a\x18" + VALUES.tobytes()
    infer.decode(content)
    assert infer.quick(content) is None


def test_a_known_shape_takes_no_longer_id_than_the_parser() -> None:
    limits = Limits(max_rows_per_request=4, max_request_id_bytes=4)
    infer = ModelInfer(OneModel(ServedModel(MANIFEST, Engine.from_bytes(MODEL), limits)), limits)
    infer.decode(plain(id="four").SerializeToString())
    assert infer.quick(plain(id="4444").SerializeToString()) is not None
    too_long = plain(id="fifth").SerializeToString()
    assert infer.quick(too_long) is None
    with pytest.raises(InvalidRequest, match="id: got 5 bytes, expected at most 4"):
        infer.decode(too_long)
