"""A known shape is a short cut and nothing else: whatever comes, it says what the parser says, or nothing."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference.contract.errors import InvalidRequest
from inference.core import Request, Response
from inference.engine import Engine
from inference.models import OneModel, ServedModel
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.refusals import Refused
from inference.services.player_behavior import Predict
from inference.settings import Limits
from inference.transport.codec import Codec, parse
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest

FEATURES = ("a", "b")
MODEL = build_graph(len(FEATURES), BEHAVIOURS)
MANIFEST = make_manifest(MODEL, FEATURES, BEHAVIOURS)
LIMITS = Limits(max_rows_per_request=8, max_request_id_bytes=20)
SERVED = ServedModel(MANIFEST, Engine.from_bytes(MODEL), LIMITS)
NAMES = [behaviour.name for behaviour in BEHAVIOURS]
IDS = st.sampled_from(["", "r", "same-id"]) | st.text(max_size=24)
ROWS = st.integers(1, 3)


@st.composite
def packed(draw: st.DrawFn) -> pb.PredictRequest:
    rows = draw(ROWS)
    size = rows * len(FEATURES) * 4
    values = draw(st.binary(min_size=size, max_size=size) | st.sampled_from([b"\x00" * size, b"\xff" * size]))
    if draw(st.integers(0, 9)) == 0:
        values = values[1:]
    return pb.PredictRequest(
        request_id=draw(IDS),
        behaviours=draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True)),
        packed_rows=pb.PackedRows(rows=rows, values=values),
        nan_is_missing=draw(st.booleans()),
        model_name=draw(st.sampled_from(["", "testnet", "other"])),
        model_version=draw(st.sampled_from(["", "1"])),
        priority=draw(st.sampled_from([pb.Priority.Name(number) for number in pb.Priority.values()])),
        routing_key=draw(st.sampled_from(["", "", "k"])),
    )


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    """Messages as no serializer writes them: pieces in another order, repeated, unknown, cut off, changed."""
    message = draw(packed()).SerializeToString()
    kind = draw(st.sampled_from(["plain", "twice", "second id", "unknown", "cut", "changed", "long id", "reordered"]))
    if kind == "twice":
        return message + draw(packed()).SerializeToString()
    if kind == "second id":
        return message + field(1, b"late")
    if kind == "unknown":
        return field(15, b"?") + message if draw(st.booleans()) else message + field(15, b"?")
    if kind == "cut":
        return message[: draw(st.integers(0, len(message)))]
    if kind == "changed" and message:
        at = draw(st.integers(0, len(message) - 1))
        return message[:at] + draw(st.binary(min_size=1, max_size=1)) + message[at + 1 :]
    if kind == "long id":  # a length in two bytes where one would do
        return b"\n\x81\x00x" + message
    if kind == "reordered":
        return field(3, pb.PackedRows(rows=1, values=bytes(8)).SerializeToString()) + field(1, b"r") + b"\x30\x01"
    return message


def said(message: bytes) -> Request | None:
    """What the parser makes of it, without any short cut."""
    try:
        parsed = parse(message)
        return OneModel(SERVED).find(parsed.model_name, parsed.model_version).codec.decode(parsed)
    except (InvalidRequest, Refused):
        return None


@settings(max_examples=400)
@given(st.lists(odd(), min_size=1, max_size=8), st.data())
@example([b"\n\x01"], None)
@example([b"\n\x7f" + b"x" * 200], None)
def test_quick_is_none_or_right_whatever_was_learnt(messages: list[bytes], data: st.DataObject | None) -> None:
    method = Predict(OneModel(SERVED))
    for message in [*messages, *messages]:
        quick = method.quick(message)
        expected = said(message)
        assert quick is None or quick.request == expected
        with suppress(InvalidRequest, Refused):
            assert method.decode(message).request == expected


@given(packed(), IDS)
def test_the_second_of_a_shape_is_quick(request: pb.PredictRequest, other_id: str) -> None:
    method = Predict(OneModel(SERVED))
    first = said(request.SerializeToString())
    second = pb.PredictRequest()
    second.CopyFrom(request)
    second.request_id = other_id
    expected = said(second.SerializeToString())
    if first is None:
        with pytest.raises((InvalidRequest, Refused)):
            method.decode(request.SerializeToString())
        return
    method.decode(request.SerializeToString())
    quick = method.quick(second.SerializeToString())
    if request.routing_key == "" and expected is not None:
        assert quick is not None
        assert quick.request == expected


def test_four_shapes_of_one_size_are_known_side_by_side() -> None:
    method = Predict(OneModel(SERVED))
    messages = [
        pb.PredictRequest(packed_rows=pb.PackedRows(rows=1, values=bytes(8)), priority=priority).SerializeToString()
        for priority in (pb.PRIORITY_LIVE_MATCH, pb.PRIORITY_PREFETCH, pb.PRIORITY_ANALYTICS)
    ]
    for message in messages:
        method.decode(message)
    assert all(method.quick(message) is not None for message in messages)


@given(
    rows=ROWS,
    columns=st.none() | st.lists(st.integers(0, len(NAMES) - 1), min_size=1, max_size=3, unique=True).map(tuple),
    request_id=IDS,
    degraded=st.booleans(),
    dropped_sessions=st.integers(0, 3),
)
def test_replies_are_what_protobuf_writes(
    rows: int, columns: tuple[int, ...] | None, request_id: str, degraded: bool, dropped_sessions: int
) -> None:
    codec = Codec(MANIFEST, LIMITS)
    asked = range(len(NAMES)) if columns is None else columns
    values = np.arange(rows * len(asked), dtype="<f4").tobytes()
    request = Request(b"", rows, columns, False, request_id, dropped_sessions)
    expected = pb.PredictResponse(
        request_id=request_id,
        model_name=MANIFEST.name,
        model_version=MANIFEST.version,
        behaviours=[NAMES[column] for column in asked],
        rows=rows,
        values=values,
        degraded=degraded,
        dropped_sessions=dropped_sessions,
    )
    for _ in range(2):
        assert pb.PredictResponse.FromString(codec.encode(Response(request, values, degraded))) == expected
