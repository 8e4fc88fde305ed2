from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference.contract.errors import InvalidRequest
from inference.contract.features import FEATURE_NAMES
from inference.core import Request, Response
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.settings import Limits
from inference.transport.codec import Codec, parse
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from inference.contract.artifact import Manifest

FEATURES = ("recency_hours", "sessions_7d", "gap_1_hours")
LIMITS = Limits(max_rows_per_request=4, max_sessions_per_request=6)


def manifest_of(features: tuple[str, ...]) -> Manifest:
    return make_manifest(build_graph(len(features), BEHAVIOURS), features, BEHAVIOURS)


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(manifest_of(FEATURES), LIMITS)


def rows_of(request: Request, features: int = len(FEATURES)) -> NDArray[np.float32]:
    return np.frombuffer(request.values, dtype="<f4").reshape(request.rows, features)


def packed(rows: int = 2, values: bytes | None = None, **fields: object) -> bytes:
    content = np.arange(rows * len(FEATURES), dtype="<f4").tobytes() if values is None else values
    message = pb.PredictRequest(packed_rows=pb.PackedRows(rows=rows, values=content), **fields)  # type: ignore[arg-type]
    return message.SerializeToString()


def named(columns: dict[str, list[float]] | list[tuple[str, list[float]]], **fields: object) -> bytes:
    pairs = columns.items() if isinstance(columns, dict) else columns
    features = pb.NamedFeatures(columns=[pb.FeatureColumn(name=name, values=values) for name, values in pairs])
    return pb.PredictRequest(named_features=features, **fields).SerializeToString()  # type: ignore[arg-type]


def histories(*players: pb.SessionHistory) -> bytes:
    return pb.PredictRequest(histories=pb.SessionHistories(players=players)).SerializeToString()


def player(starts: list[int], durations: list[int], coop: tuple[bool, ...] = (), as_of: int = 0) -> pb.SessionHistory:
    return pb.SessionHistory(start_seconds=starts, duration_seconds=durations, coop=coop, as_of_seconds=as_of)


def refusal(codec: Codec, message: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        codec.decode(parse(message))
    return str(refused.value)


def test_packed_rows_pass_through_as_they_are(codec: Codec) -> None:
    request = codec.decode(parse(packed(2, request_id="r", nan_is_missing=True)))
    assert request == Request(np.arange(6, dtype="<f4").tobytes(), 2, None, True, "r", 0)


def test_behaviours_become_columns_in_the_order_asked(codec: Codec) -> None:
    assert codec.decode(parse(packed(behaviours=["sessions_7d", "churn_7d"]))).columns == (6, 0)
    assert codec.decode(parse(packed())).columns is None


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\xff\xff", "request: got 2 bytes that do not parse, expected a playfuse.v1.PredictRequest."),
        (b"", "input: got nothing, expected one of packed_rows, named_features, histories."),
        (packed(2, b"1234"), "packed_rows.values: got 4 bytes, expected 24: 2 rows of 3 float32 features."),
        (packed(0), "packed_rows.rows: got 0 players, expected 1 to 4 in one request."),
        (packed(5), "packed_rows.rows: got 5 players, expected 1 to 4 in one request. Split it into several"),
        (packed(request_id="é" * 65), "request_id: got 130 bytes, expected at most 128."),
        (
            packed(behaviours=["churn_7d", "churn_7d"]),
            "behaviours[1]: got 'churn_7d' again, expected each",
        ),
        (named({}), "named_features.columns: got none, expected at least one feature."),
        (
            named({"sessions_7d": []}),
            "named_features.columns[0].values: got 0 players, expected 1 to 4",
        ),
        (
            named({"sessions_7d": [1, 2], "gap_1_hours": [1]}),
            "named_features.columns[1].values: got 1 values of gap_1_hours, expected 2, as many as in the first",
        ),
        (
            named([("sessions_7d", [1]), ("sessions_7d", [1])]),
            "named_features.columns[1].name: got 'sessions_7d' again, expected each feature once.",
        ),
        (
            named({"sesions_7d": [1]}),
            "named_features.columns[0].name: got 'sesions_7d', expected a feature of this model: "
            "recency_hours, sessions_7d, gap_1_hours. Did you mean 'sessions_7d'?",
        ),
        (
            named({"sessions_7d": [1, float("inf")]}),
            "named_features.columns[0].values row 1, feature sessions_7d: got inf, expected a finite number.",
        ),
        (
            named({"recency_hours": [1], "sessions_7d": [float("nan")]}),
            "named_features.columns[1].values row 0, feature sessions_7d: got nan, expected a finite number. "
            "Set nan_is_missing if NaN marks a missing value.",
        ),
        (histories(), "histories.players: got 0 players, expected 1 to 4 in one request."),
        (histories(*[player([1], [1])] * 5), "histories.players: got 5 players, expected 1 to 4 in one request."),
    ],
)
def test_what_is_wrong_is_named(codec: Codec, message: bytes, said: str) -> None:
    text = refusal(codec, message)
    assert text.startswith(said.rstrip(".")), text


def test_an_unknown_behaviour_is_named_with_the_nearest_one(codec: Codec) -> None:
    text = refusal(codec, packed(behaviours=["churn_7days"]))
    assert text.startswith("behaviours[0]: got 'churn_7days', expected a behaviour of this model: churn_7d, churn_14d,")
    assert text.endswith("Did you mean 'churn_7d'?")


def test_a_very_long_name_is_cut_short(codec: Codec) -> None:
    text = refusal(codec, packed(behaviours=["x" * 100_000]))
    assert len(text) < 500
    assert "xxx…'" in text


def test_features_by_name_may_come_in_any_order_and_be_left_out(codec: Codec) -> None:
    request = codec.decode(parse(named({"gap_1_hours": [3, 6], "recency_hours": [1, 4]})))
    assert request.nan_is_missing
    np.testing.assert_array_equal(rows_of(request), np.array([[1, np.nan, 3], [4, np.nan, 6]], np.float32))


def test_nan_by_name_is_missing_where_the_caller_says_so(codec: Codec) -> None:
    request = codec.decode(parse(named({"gap_1_hours": [float("nan"), 6]}, nan_is_missing=True)))
    np.testing.assert_array_equal(np.isnan(rows_of(request)), [[True, True, True], [True, True, False]])
    assert "got inf" in refusal(codec, named({"gap_1_hours": [float("inf")]}, nan_is_missing=True))


def test_a_reply_holds_what_was_answered(codec: Codec) -> None:
    values = np.arange(16, dtype="<f4").tobytes()
    reply = pb.PredictResponse.FromString(
        codec.encode(Response(Request(b"", 2, request_id="r", dropped_sessions=3), values))
    )
    assert reply == pb.PredictResponse(
        request_id="r",
        model_name="testnet",
        model_version="1",
        behaviours=[behaviour.name for behaviour in BEHAVIOURS],
        rows=2,
        values=values,
        dropped_sessions=3,
    )


def test_a_reply_names_the_behaviours_asked_for_only(codec: Codec) -> None:
    response = Response(Request(b"", 1, columns=(6, 0)), b"12345678", degraded=True)
    reply = pb.PredictResponse.FromString(codec.encode(response))
    assert list(reply.behaviours) == ["sessions_7d", "churn_7d"]
    assert reply.degraded
    assert (reply.model_name, reply.model_version, reply.rows, reply.values) == ("testnet", "1", 1, b"12345678")


def test_a_model_with_features_of_its_own_takes_no_histories() -> None:
    codec = Codec(manifest_of((*FEATURES, "clan_size")), LIMITS)
    text = refusal(codec, histories(player([0], [60])))
    assert "this model's clan_size is not computed from sessions. Send packed_rows or named_features." in text
    assert codec.decode(parse(named({"clan_size": [4]}))).rows == 1


def test_a_model_of_very_many_features_still_gives_a_short_refusal() -> None:
    codec = Codec(manifest_of(tuple(f"feature_number_{index}" for index in range(400))), LIMITS)
    text = refusal(codec, named({"feature": [1]}))
    assert len(text) < 2_000
    assert ", …." in text


def test_histories_become_features_and_what_was_dropped_is_counted() -> None:
    codec = Codec(manifest_of(FEATURE_NAMES), LIMITS)
    request = codec.decode(
        parse(histories(player([1_000, 90_000, 90_000], [60, 3_600, 3_600]), player([5], [50_000 - 20_000])))
    )
    assert (request.rows, request.dropped_sessions, request.nan_is_missing) == (2, 1, True)
    rows = rows_of(request, len(FEATURE_NAMES))
    assert rows[0, FEATURE_NAMES.index("sessions_total")] == 2
    assert rows[1, FEATURE_NAMES.index("session_1_hours")] == np.float32(30_000 / 3_600)
