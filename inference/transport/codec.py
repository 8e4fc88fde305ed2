"""Messages of `playfuse.v1` ↔ requests and responses of the core, for one model.

Every fault of a caller ends here, as an `InvalidRequest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inference.contract.errors import InvalidRequest
from inference.contract.features import FEATURE_NAMES
from inference.core import WIRE_FLOAT32, Priority, Request, Response
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.transport import checks, histories

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from inference.contract.artifact import Manifest
    from inference.settings import Limits

_MAX_HEADS: Final = 4_096
_ONE_BYTE_LENGTH: Final = 0x80
"""Of protobuf's varints; from here on they take more."""


class Codec:
    """Decodes and encodes for one model. Any thread may use it.

    Args:
        manifest: the model's features and behaviours.
        limits: what a request may ask for.
    """

    def __init__(self, manifest: Manifest, limits: Limits) -> None:
        self._limits = limits
        self.max_request_id_bytes = limits.max_request_id_bytes
        self._features = manifest.features
        self._behaviours = manifest.behaviour_names
        self._behaviour_column = {name: column for column, name in enumerate(self._behaviours)}
        self._row_bytes = len(self._features) * WIRE_FLOAT32.itemsize
        self._name, self._version = manifest.name, manifest.version
        self._heads: dict[tuple[int, tuple[int, ...] | None], bytes] = {}
        self._history_columns: NDArray[np.intp] | None = None
        self._own_features = manifest.own_features
        if not self._own_features:
            self._history_columns = np.array([FEATURE_NAMES.index(name) for name in self._features], dtype=np.intp)

    def decode(self, predict: pb.PredictRequest) -> Request:
        """A `PredictRequest` → a request of the core.

        Everything is checked but whether packed values are finite, which the core checks for a whole batch at once.

        Raises:
            InvalidRequest: names the field, the row or column where there is one, what was got, what was expected.
        """
        request_id = predict.request_id
        checks.check_size("request_id", request_id, self._limits)
        checks.check_size("routing_key", predict.routing_key, self._limits)
        columns = self._columns(predict.behaviours) if predict.behaviours else None
        priority = _priority(predict.priority)
        form = predict.WhichOneof("input")
        if form == "packed_rows":
            values, rows = self._packed(predict.packed_rows)
            return Request(values, rows, columns, predict.nan_is_missing, request_id, 0, priority)
        if form == "named_features":
            values, rows = self._named(predict.named_features, nan_is_missing=predict.nan_is_missing)
            return Request(values, rows, columns, True, request_id, 0, priority)
        if form == "histories":
            values, rows, dropped_sessions = self._histories(predict.histories)
            return Request(values, rows, columns, True, request_id, dropped_sessions, priority)
        raise InvalidRequest("input", got="nothing", expected="one of packed_rows, named_features, histories")

    def encode(self, response: Response) -> bytes:
        """A response → a `PredictResponse` as bytes."""
        request, values, degraded = response
        if degraded or request.dropped_sessions:
            reply = self._reply(request, values)
            reply.request_id = request.request_id
            reply.degraded = degraded
            reply.dropped_sessions = request.dropped_sessions
            return reply.SerializeToString()
        # All but the values and the id is alike for requests of one size: encoded once, then only joined.
        shape = (request.rows, request.columns)
        head = self._heads.get(shape)
        if head is None:
            if len(self._heads) >= _MAX_HEADS:
                self._heads.clear()
            whole = self._reply(request, values).SerializeToString()
            head = self._heads[shape] = whole[: len(whole) - len(values)]
        if request.request_id:
            return _request_id_field(request.request_id) + head + values
        return head + values

    def _reply(self, request: Request, values: bytes) -> pb.PredictResponse:
        """The fields of every reply, the values last."""
        columns = range(len(self._behaviours)) if request.columns is None else request.columns
        return pb.PredictResponse(
            model_name=self._name,
            model_version=self._version,
            behaviours=[self._behaviours[column] for column in columns],
            rows=request.rows,
            values=values,
        )

    def _columns(self, names: Iterable[str]) -> tuple[int, ...]:
        columns: dict[int, None] = {}
        for position, name in enumerate(names):
            column = self._behaviour_column.get(name)
            where = f"behaviours[{position}]"
            if column is None:
                raise checks.unknown(where, name, self._behaviours, "a behaviour of this model")
            if column in columns:
                raise InvalidRequest(where, got=f"{name!r} again", expected="each behaviour once")
            columns[column] = None
        return tuple(columns)

    def _packed(self, packed: pb.PackedRows) -> tuple[bytes, int]:
        rows, values = packed.rows, packed.values
        checks.check_rows("packed_rows.rows", rows, self._limits)
        if len(values) != rows * self._row_bytes:
            raise InvalidRequest(
                "packed_rows.values",
                got=f"{len(values)} bytes",
                expected=f"{rows * self._row_bytes}: {rows} rows of {len(self._features)} float32 features",
            )
        return values, rows

    def _named(self, named: pb.NamedFeatures, *, nan_is_missing: bool) -> tuple[bytes, int]:
        if not named.columns:
            raise InvalidRequest("named_features.columns", got="none", expected="at least one feature")
        columns = []
        for position, feature in enumerate(named.columns):
            where = f"named_features.columns[{position}]"
            columns.append(checks.Column(f"{where}.name", feature.name, f"{where}.values", feature.values))
        return checks.rows_by_name(columns, self._features, self._limits, nan_is_missing=nan_is_missing)

    def _histories(self, sent: pb.SessionHistories) -> tuple[bytes, int, int]:
        if self._history_columns is None:
            raise InvalidRequest(
                "histories",
                got="session histories",
                expected=f"values by name: this model's {self._own_features[0]} is not computed from sessions",
                fix="Send packed_rows or named_features.",
            )
        checks.check_rows("histories.players", len(sent.players), self._limits)
        rows, dropped_sessions = histories.rows_of(
            sent.players, self._history_columns, max_sessions=self._limits.max_sessions_per_request
        )
        return rows.astype(WIRE_FLOAT32, copy=False).tobytes(), len(rows), dropped_sessions


def _request_id_field(request_id: str) -> bytes:
    encoded = request_id.encode()
    if len(encoded) < _ONE_BYTE_LENGTH:
        return b"\n%c%b" % (len(encoded), encoded)
    return pb.PredictResponse(request_id=request_id).SerializeToString()


def parse(message: bytes) -> pb.PredictRequest:
    """Bytes → a `PredictRequest`, whichever model it asks.

    Raises:
        InvalidRequest: they are none.
    """
    return checks.parse(pb.PredictRequest, message)


def _priority(sent: int) -> Priority:
    if sent not in pb.Priority.values():
        raise InvalidRequest("priority", got=str(sent), expected=f"one of {', '.join(pb.Priority.keys())}")
    return Priority(max(0, sent - pb.PRIORITY_LIVE_MATCH))
