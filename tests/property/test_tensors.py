"""Whatever bytes come as a `ModelInfer`: a request that can be answered or a refusal, never another exception."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.contract.errors import InvalidRequest
from inference.core import Response
from inference.engine import Engine
from inference.models import OneModel, ServedModel
from inference.pb.inference import grpc_service_pb2 as pb
from inference.pb.playfuse.v1 import player_behavior_pb2 as ours
from inference.refusals import UnknownModel
from inference.services.model_infer import ModelInfer
from inference.services.player_behavior import Predict
from inference.settings import Limits
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest

FEATURES = ("recency_hours", "sessions_7d", "gap_1_hours")
GRAPH = build_graph(len(FEATURES), BEHAVIOURS)
LIMITS = Limits(max_rows_per_request=8)
MODEL = ServedModel(make_manifest(GRAPH, FEATURES, BEHAVIOURS), Engine.from_bytes(GRAPH), LIMITS)
INFER = ModelInfer(OneModel(MODEL), LIMITS)
"""One for all examples: shapes learnt from one must never mislead about another."""
PREDICT = Predict(OneModel(MODEL))

NAMES = st.sampled_from(["features", "predictions", *FEATURES, "churn_7d", "sessions_7d"]) | st.text(max_size=6)
FLOATS = st.floats(width=32)
PARAMETERS = st.dictionaries(
    st.sampled_from(["priority", "timeout", "nan_is_missing", "routing_key", "content_type"]) | st.text(max_size=4),
    st.builds(pb.InferParameter, bool_param=st.booleans())
    | st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3))
    | st.builds(pb.InferParameter, uint64_param=st.integers(0, 2**64 - 1) | st.integers(0, 3))
    | st.builds(pb.InferParameter, string_param=st.text(max_size=8))
    | st.builds(pb.InferParameter),
    max_size=2,
)
CONTENTS = st.none() | st.builds(
    pb.InferTensorContents,
    fp32_contents=st.lists(FLOATS, max_size=9),
    int_contents=st.lists(st.integers(-5, 5), max_size=1),
)
INPUTS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=NAMES,
    datatype=st.sampled_from(["FP32", "FP32", "FP64"]) | st.text(max_size=4),
    shape=st.sampled_from([[1, 3], [2, 3], [1], [2], [3, 1]])
    | st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 4), max_size=3),
    contents=CONTENTS,
)
OUTPUTS = st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=NAMES)
ANY = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from(["", "testnet"]) | st.text(max_size=4),
    id=st.text(max_size=4),
    parameters=PARAMETERS,
    inputs=st.lists(INPUTS, max_size=3),
    outputs=st.lists(OUTPUTS, max_size=2),
    raw_input_contents=st.lists(st.binary(max_size=24), max_size=3),
)
MATRICES = st.integers(1, 8).flatmap(
    lambda rows: st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=rows * 3, max_size=rows * 3
    ).map(lambda values: np.array(values, "<f4").reshape(rows, 3))
)


def of(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float32]], *, is_raw: bool, request_id: str = "") -> bytes:
    tensor = pb.ModelInferRequest.InferInputTensor(name="features", datatype="FP32", shape=matrix.shape)
    sent = pb.ModelInferRequest(model_name="testnet", id=request_id, inputs=[tensor])
    if is_raw:
        sent.raw_input_contents.append(matrix.tobytes())
    else:
        sent.inputs[0].contents.fp32_contents.extend(matrix.ravel().tolist())
    return sent.SerializeToString()


def check(message: bytes) -> None:
    """What is asked can be answered, what is answered can be read; known shapes mean what parsing would have found."""
    fresh = ModelInfer(OneModel(MODEL), LIMITS)
    refused: Exception | None = None
    try:
        asked = fresh.decode(message)
    except (InvalidRequest, UnknownModel) as error:
        refused = error
    if refused is not None:
        assert 0 < len(str(refused)) < 4_000
        assert INFER.quick(message) is None
        return
    assert INFER.decode(message) == asked
    request = asked.request
    assert len(request.values) == request.rows * len(FEATURES) * 4
    (answer,) = MODEL.predict([request])
    if isinstance(answer, InvalidRequest):
        return
    reply = pb.ModelInferResponse.FromString(INFER.encode(MODEL, answer))
    assert reply.id == request.request_id
    for position, output in enumerate(reply.outputs):
        raw = reply.raw_output_contents
        values = np.frombuffer(raw[position], "<f4") if raw else np.array(output.contents.fp32_contents)
        assert values.size == np.prod(output.shape)
        assert np.isfinite(values).all()


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(message: bytes) -> None:
    check(message)


@settings(max_examples=400)
@given(ANY)
def test_messages_with_any_content(message: pb.ModelInferRequest) -> None:
    check(message.SerializeToString())


@settings(max_examples=400)
@given(
    MATRICES,
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3),
    st.integers(0, 60),
)
def test_valid_messages_with_changed_bytes(
    matrix: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    is_raw: bool,
    changes: list[tuple[int, int]],
    cut: int,
) -> None:
    content = bytearray(of(matrix, is_raw=is_raw, request_id="r"))
    check(bytes(content))
    for position, value in changes:
        content[position % len(content)] = value
    check(bytes(content))
    check(bytes(content[: len(content) - cut]))


@settings(max_examples=100)
@given(MATRICES)
def test_every_form_gets_the_bits_of_predict(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    packed = ours.PredictRequest(packed_rows=ours.PackedRows(rows=len(matrix), values=matrix.tobytes()))
    (expected,) = MODEL.predict([PREDICT.decode(packed.SerializeToString()).request])
    assert isinstance(expected, Response)
    for is_raw in (True, False):
        (answer,) = MODEL.predict([INFER.decode(of(matrix, is_raw=is_raw)).request])
        assert isinstance(answer, Response)
        assert answer.values == expected.values
        reply = pb.ModelInferResponse.FromString(INFER.encode(MODEL, answer))
        if is_raw:
            assert reply.raw_output_contents[0] == expected.values
        else:
            assert np.array(reply.outputs[0].contents.fp32_contents, "<f4").tobytes() == expected.values
