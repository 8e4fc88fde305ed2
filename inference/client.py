"""A small typed client.

In use:

    with Client("127.0.0.1:50051") as client:
        prediction = client.predict(rows=rows)          # (players, features) float32
        prediction["churn_7d"]                          # (players,) float32
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, cast

import grpc
import numpy as np

from inference.contract.errors import InvalidRequest, PlayfuseError
from inference.core import WIRE_FLOAT32, Priority
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from inference.security.channel import ClientTls, authorization, connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from numpy.typing import ArrayLike, NDArray

_KEEPALIVE_MS: Final = 30_000
_PRIORITIES: Final = {
    Priority.LIVE_MATCH: pb.PRIORITY_UNSPECIFIED,  # what most ask for takes no bytes
    Priority.PREFETCH: pb.PRIORITY_PREFETCH,
    Priority.ANALYTICS: pb.PRIORITY_ANALYTICS,
}
_FORMS: Final = {
    "rows": "numbers (players, features)",
    "features": "one number per player for each feature",
    "histories": "whole seconds that fit 64 bits, and flags",
}
"""Form of a request → what it holds."""


@dataclass(frozen=True, slots=True)
class History:
    """The sessions of one player, in any order.

    Attributes:
        start_seconds: Unix seconds, UTC.
        duration_seconds: as many.
        coop: whether each session was co-operative; empty where the game does not know.
        as_of_seconds: the moment to predict from; 0 is the end of the last session.
    """

    start_seconds: Sequence[int]
    duration_seconds: Sequence[int]
    coop: Sequence[bool] = ()
    as_of_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the server answered.

    Attributes:
        values: (players, behaviours) float32: probabilities, or amounts in the behaviour's unit.
        behaviours: names of the columns.
        model_name: which model answered.
        model_version: which version of it.
        degraded: the model failed; `values` are the priors, the same for every player.
        dropped_sessions: sessions in histories that cleaning took away or merged.
        request_id: as it was sent.
    """

    values: NDArray[np.float32]
    behaviours: tuple[str, ...]
    model_name: str
    model_version: str
    degraded: bool
    dropped_sessions: int
    request_id: str

    def __getitem__(self, behaviour: str) -> NDArray[np.float32]:
        """(players,) float32, the values of one behaviour.

        Raises:
            KeyError: it was not asked for.
        """
        if behaviour not in self.behaviours:
            raise KeyError(behaviour)
        return self.values[:, self.behaviours.index(behaviour)]


class CallFailed(PlayfuseError):  # noqa: N818 - says what happened; every subclass of PlayfuseError is an error
    """The server refused the call or could not be reached.

    Attributes:
        code: gRPC status.
        details: the server's own words.
    """

    def __init__(
        self, target: str, method: str, code: grpc.StatusCode, details: str, *, fix: str | None = None
    ) -> None:
        self.code = code
        self.details = details
        fix = _FIXES.get(code, "") if fix is None else fix
        super().__init__(f"{method} at {target}", got=f"{code.name}: {details}", expected="an answer", fix=fix)


_FIXES: Final = {
    grpc.StatusCode.UNAVAILABLE: "Is the server running there? Start one with `playfuse serve --demo`.",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Allow more time, send fewer players per request or add servers.",
    grpc.StatusCode.UNAUTHENTICATED: "Show a token: `--token`, PLAYFUSE_CLIENT_TOKEN or `Client(token=…)`.",
    grpc.StatusCode.PERMISSION_DENIED: "Use a token with that role: `playfuse token new --role …` makes one.",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Send less at once, or add servers.",
}


class Client:
    """Calls one server, or the servers behind one name. May be shared by threads; reuses one connection.

    Args:
        target: `host:port`, or any gRPC name such as `dns:///playfuse:50051`.
        timeout_seconds: deadline of each call, its retries included.
        max_attempts: tries per call, 1 to 5. Only calls that the server did not take are tried again (UNAVAILABLE,
            RESOURCE_EXHAUSTED), after the pause that the server asks for (where grpcio carries the calls) or else a
            growing random one.
        token: shown with each call, where the server asks for one.
        tls: how to know the server; none speaks plain text.

    Raises:
        PlayfuseError: a file of TLS cannot be used, or the token cannot be one.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float = 1.0,
        max_attempts: int = 4,
        token: str = "",
        tls: ClientTls | None = None,
    ) -> None:
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._metadata = authorization(token)
        self._channel = connect(target, tls, _options(max_attempts))
        self._stub = PlayerBehaviorStub(self._channel)

    def predict(
        self,
        *,
        rows: ArrayLike | None = None,
        features: Mapping[str, Sequence[float] | NDArray[np.floating]] | None = None,
        histories: Sequence[History] | None = None,
        behaviours: Sequence[str] = (),
        nan_is_missing: bool = False,
        request_id: str = "",
        priority: Priority = Priority.LIVE_MATCH,
        model_name: str = "",
        model_version: str = "",
        routing_key: str = "",
    ) -> Prediction:
        """Predict for some players, given in exactly one of three forms.

        Args:
            rows: (players, features) in the model's order, see `describe`. Smallest and fastest.
            features: feature name → one value per player; what is left out is missing.
            histories: raw sessions, one history per player.
            behaviours: what to predict, in this order; empty: all.
            nan_is_missing: NaN in rows or features marks a missing value; otherwise the server refuses it.
            request_id: echoed, for logs.
            priority: what the answer is for; under load the more urgent goes first.
            model_name: which model to ask; empty: the server's only one, or its default.
            model_version: which version of it; empty: the live one, or the one on trial for this key.
            routing_key: who is asked about: while a version is on trial, the same key always meets the same version.

        Raises:
            InvalidRequest: not exactly one form was given, or it cannot be sent: rows is no matrix, a number is none.
            CallFailed: with the gRPC status and the server's words.
        """
        request = pb.PredictRequest(
            request_id=request_id,
            behaviours=behaviours,
            nan_is_missing=nan_is_missing,
            model_name=model_name,
            model_version=model_version,
            priority=_PRIORITIES[priority],
            routing_key=routing_key,
        )
        given = [name for name, form in zip(_FORMS, (rows, features, histories), strict=True) if form is not None]
        if len(given) != 1:
            raise InvalidRequest("predict", got=", ".join(given) or "nothing", expected=f"one of {', '.join(_FORMS)}")
        try:
            _fill(request, rows, features, histories)
        except (TypeError, ValueError) as error:
            raise InvalidRequest(given[0], got=str(error), expected=_FORMS[given[0]]) from error
        try:
            reply = self._stub.Predict(request, timeout=self._timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._failed("Predict", error) from error
        values = np.frombuffer(reply.values, dtype=WIRE_FLOAT32).reshape(reply.rows, len(reply.behaviours))
        return Prediction(
            values=values,
            behaviours=tuple(reply.behaviours),
            model_name=reply.model_name,
            model_version=reply.model_version,
            degraded=reply.degraded,
            dropped_sessions=reply.dropped_sessions,
            request_id=reply.request_id,
        )

    def wait_until_ready(self, timeout_seconds: float) -> None:
        """Wait for the connection, for a server that has just been started.

        Raises:
            CallFailed: UNAVAILABLE, nobody answered there in time.
        """
        try:
            grpc.channel_ready_future(self._channel).result(timeout_seconds)
        except grpc.FutureTimeoutError as error:
            said = f"no connection within {timeout_seconds:g} s"
            raise CallFailed(self._target, "connecting", grpc.StatusCode.UNAVAILABLE, said) from error

    def describe(self, model_name: str = "", model_version: str = "") -> pb.DescribeModelResponse:
        """What a model takes and answers, and the server's limits.

        Args:
            model_name: which; empty: the server's only one, or its default.
            model_version: which version of it; empty: the live one.

        Raises:
            CallFailed: with the gRPC status and the server's words.
        """
        try:
            description: pb.DescribeModelResponse = self._stub.DescribeModel(
                pb.DescribeModelRequest(model_name=model_name, model_version=model_version),
                timeout=self._timeout_seconds,
                metadata=self._metadata,
            )
        except grpc.RpcError as error:
            raise self._failed("DescribeModel", error) from error
        return description

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _failed(self, method: str, error: grpc.RpcError) -> CallFailed:
        call = cast("grpc.Call", error)  # what a unary call raises is both; the type stubs do not know
        return CallFailed(self._target, method, call.code(), call.details() or "")


def _fill(
    request: pb.PredictRequest,
    rows: ArrayLike | None,
    features: Mapping[str, Sequence[float] | NDArray[np.floating]] | None,
    histories: Sequence[History] | None,
) -> None:
    """Put the one form that was given into the request."""
    if rows is not None:
        request.packed_rows.CopyFrom(_pack(rows))
    elif features is not None:
        request.named_features.SetInParent()
        for name, values in features.items():
            request.named_features.columns.add(name=name, values=values)
    elif histories is not None:
        request.histories.SetInParent()
        for history in histories:
            request.histories.players.add(
                start_seconds=history.start_seconds,
                duration_seconds=history.duration_seconds,
                coop=history.coop,
                as_of_seconds=history.as_of_seconds,
            )


def _pack(rows: ArrayLike) -> pb.PackedRows:
    matrix = np.asarray(rows, dtype=WIRE_FLOAT32)
    if matrix.ndim != 2:
        raise InvalidRequest("rows", got=f"an array of shape {matrix.shape}", expected="(players, features)")
    return pb.PackedRows(rows=len(matrix), values=matrix.tobytes())


def _options(max_attempts: int) -> list[tuple[str, int | str]]:
    policy = {
        "maxAttempts": max_attempts,
        "initialBackoff": "0.02s",
        "maxBackoff": "0.5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    config = {
        "methodConfig": [{"name": [{"service": "playfuse.v1.PlayerBehavior"}], "retryPolicy": policy}]
        if max_attempts > 1
        else [],
        # Half of the calls failing over and over means that retries make it worse: then they pause.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
