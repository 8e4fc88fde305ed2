"""Whatever bytes come: a checked request or an `InvalidRequest`, never another exception, never a warning."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.contract.errors import InvalidRequest
from inference.contract.features import FEATURE_NAMES
from inference.core import Core
from inference.engine import Engine
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.settings import Limits
from inference.transport.codec import Codec, parse
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest
from tests.support.fuzzing import FUZZED

MODEL = build_graph(len(FEATURE_NAMES), BEHAVIOURS)
MANIFEST = make_manifest(MODEL, FEATURE_NAMES, BEHAVIOURS)
LIMITS = Limits(max_rows_per_request=8, max_sessions_per_request=64)
CODEC = Codec(MANIFEST, LIMITS)
CORE = Core(Engine.from_bytes(MODEL), MANIFEST)

INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(1_700_000_000, 1_700_500_000)
INT32 = st.integers(-(2**31), 2**31 - 1) | st.integers(0, 40_000)
NAMES = st.sampled_from([*FEATURE_NAMES, *(behaviour.name for behaviour in BEHAVIOURS)]) | st.text(max_size=8)
FLOATS = st.floats(width=32)
PACKED = st.builds(
    pb.PackedRows,
    rows=st.integers(0, 2**32 - 1) | st.integers(0, 3),
    values=st.binary(max_size=64)
    | st.integers(0, 3).flatmap(
        lambda rows: st.lists(FLOATS, min_size=rows * len(FEATURE_NAMES), max_size=rows * len(FEATURE_NAMES)).map(
            lambda values: np.array(values, dtype="<f4").tobytes()
        )
    ),
)
COLUMNS = st.builds(pb.FeatureColumn, name=NAMES, values=st.lists(FLOATS, max_size=9))
NAMED = st.builds(pb.NamedFeatures, columns=st.lists(COLUMNS, max_size=5))
PLAYERS = st.integers(0, 6).flatmap(
    lambda sessions: st.builds(
        pb.SessionHistory,
        start_seconds=st.lists(INT64, min_size=sessions, max_size=sessions),
        duration_seconds=st.lists(INT32, min_size=sessions, max_size=sessions) | st.lists(INT32, max_size=6),
        coop=st.just([]) | st.lists(st.booleans(), min_size=sessions, max_size=sessions),
        as_of_seconds=st.just(0) | INT64,
    )
)
HISTORIES = st.builds(pb.SessionHistories, players=st.lists(PLAYERS, max_size=9))
COMMON = {
    "request_id": st.text(max_size=140),
    "behaviours": st.lists(NAMES, max_size=3),
    "nan_is_missing": st.booleans(),
}
REQUESTS = st.one_of(
    st.builds(pb.PredictRequest, packed_rows=PACKED, **COMMON),
    st.builds(pb.PredictRequest, named_features=NAMED, **COMMON),
    st.builds(pb.PredictRequest, histories=HISTORIES, **COMMON),
)


def check(message: bytes) -> None:
    """Decoded, it is what the core was promised; and what the core answers can be sent and read."""
    fault: InvalidRequest | None = None
    try:
        request = CODEC.decode(parse(message))
    except InvalidRequest as error:
        fault = error
    if fault is not None:
        assert fault.where
        assert fault.expected
        assert len(str(fault)) < 4_000
        return
    assert 1 <= request.rows <= LIMITS.max_rows_per_request
    assert len(request.values) == request.rows * len(FEATURE_NAMES) * 4
    (answer,) = CORE.predict([request])
    if isinstance(answer, InvalidRequest):
        return
    reply = pb.PredictResponse.FromString(CODEC.encode(answer))
    values = np.frombuffer(reply.values, dtype="<f4")
    assert values.size == reply.rows * len(reply.behaviours)
    assert np.isfinite(values).all()
    assert reply.request_id == request.request_id


@FUZZED
@given(st.binary(max_size=300))
def test_arbitrary_bytes(message: bytes) -> None:
    check(message)


@FUZZED
@given(REQUESTS)
def test_messages_with_any_content(message: pb.PredictRequest) -> None:
    check(message.SerializeToString())


@FUZZED
@given(REQUESTS, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.data())
def test_messages_with_changed_bytes(
    message: pb.PredictRequest, changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    content = bytearray(message.SerializeToString())
    for position, value in changes:
        if content:
            content[position % len(content)] = value
    cut = data.draw(st.integers(0, len(content)))
    check(bytes(content))
    check(bytes(content[:cut]))
