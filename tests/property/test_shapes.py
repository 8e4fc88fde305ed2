"""A known shape is a short cut and nothing else: whatever comes, it says what the parser says, or nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

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
from inference.repository.split import Split
from inference.services.player_behavior import Predict
from inference.settings import Limits
from inference.transport.codec import Codec, parse
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.models import Counted

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
        routing_key=draw(st.sampled_from(["", "", "k", "player 1", "long " * 26])),
    )


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


@st.composite
def odd(draw: st.DrawFn) -> bytes:
    """Messages as no serializer writes them: pieces in another order, repeated, unknown, cut off, changed."""
    message = draw(packed()).SerializeToString()
    kinds = ["plain", "twice", "second id", "unknown", "cut", "changed", "long id", "reordered", "no text"]
    kind = draw(st.sampled_from(kinds))
    if kind == "no text":
        return message.removesuffix(b"k").removesuffix(b"R\x01") + b"R\x01\xff"
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
def test_the_second_of_a_shape_is_quick_with_another_id_and_key(request: pb.PredictRequest, other_id: str) -> None:
    method = Predict(OneModel(SERVED))
    first = said(request.SerializeToString())
    second = pb.PredictRequest()
    second.CopyFrom(request)
    second.request_id = other_id
    second.routing_key = request.routing_key.upper()
    expected = said(second.SerializeToString())
    if first is None:
        with pytest.raises((InvalidRequest, Refused)):
            method.decode(request.SerializeToString())
        return
    method.decode(request.SerializeToString())
    quick = method.quick(second.SerializeToString())
    if len(request.routing_key) < 128 and expected is not None:
        assert quick is not None
        assert quick.request == expected


class OnTrial:
    """A live version and one on trial, which half of all keys meet and which lacks the last behaviour."""

    generation = 0

    def __init__(self) -> None:
        self.live = SERVED
        fewer = make_manifest(build_graph(len(FEATURES), BEHAVIOURS[:-1]), FEATURES, BEHAVIOURS[:-1])
        engine = Engine.from_bytes(build_graph(len(FEATURES), BEHAVIOURS[:-1]))
        self.trial = ServedModel(fewer, engine, LIMITS)
        self.split = Split("testnet", "2", 50)

    def find(self, name: str = "", version: str = "", routing_key: str = "") -> ServedModel:
        return self.trial if routing_key and self.split.takes(routing_key) else self.live

    def candidates(self, name: str = "", version: str = "") -> Sequence[ServedModel]:
        return (self.live, self.trial)

    def served(self) -> Sequence[ServedModel]:
        return (self.live, self.trial)

    def counted(self) -> Sequence[Counted]:
        return ()


@pytest.mark.parametrize("field_name", ["routing_key", "request_id"])
def test_while_a_version_is_on_trial_every_call_meets_its_own_and_is_quick(field_name: str) -> None:
    models = OnTrial()
    method = Predict(models)
    rows = pb.PackedRows(rows=2, values=np.arange(4, dtype="<f4").tobytes())
    method.decode(pb.PredictRequest(packed_rows=rows, **{field_name: "key 000"}).SerializeToString())  # type: ignore[arg-type]
    met = []
    for number in range(200):
        key = f"key {number:03}"
        quick = method.quick(pb.PredictRequest(packed_rows=rows, **{field_name: key}).SerializeToString())  # type: ignore[arg-type]
        assert quick is not None
        assert quick.model is models.find(routing_key=key)
        assert quick.request.values == rows.values
        met.append(quick.model)
    assert 60 < met.count(models.trial) < 140


def test_nameless_calls_are_spread_over_a_trial() -> None:
    models = OnTrial()
    method = Predict(models)
    message = pb.PredictRequest(packed_rows=pb.PackedRows(rows=1, values=bytes(8))).SerializeToString()
    method.decode(message)
    asked = [method.quick(message) for _ in range(200)]
    assert 60 < sum(one is not None and one.model is models.trial for one in asked) < 140
    assert None not in asked


def test_what_the_version_on_trial_does_not_know_is_its_parsers_to_say() -> None:
    models = OnTrial()
    method = Predict(models)
    rows = pb.PackedRows(rows=1, values=bytes(8))
    keys = {models.find(routing_key=f"{number:02}"): f"{number:02}" for number in range(100)}
    of_live, of_trial = (
        pb.PredictRequest(packed_rows=rows, behaviours=[NAMES[-1]], routing_key=keys[model]).SerializeToString()
        for model in (models.live, models.trial)
    )
    method.decode(of_live)
    assert method.quick(of_live) is not None
    assert method.quick(of_trial) is None
    with pytest.raises(InvalidRequest, match=NAMES[-1]):
        method.decode(of_trial)


def test_a_shape_that_would_fill_the_memory_is_not_kept() -> None:
    method = Predict(OneModel(SERVED))
    for stuffing, kept in ((b"x" * 100, True), (b"x" * 4_000, False)):
        rows = pb.PackedRows(rows=1, values=bytes(8))
        unknown = b"\x7a" + bytes([len(stuffing) & 0x7F | 0x80, len(stuffing) >> 7]) + stuffing
        message = pb.PredictRequest(packed_rows=rows).SerializeToString() + unknown
        assert method.decode(message).request.values == bytes(8)
        assert (method.quick(message) is not None) == kept


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
