"""Requests in, answers out: gather and check the rows, run the engine once, scatter. No transport, no clock.

Values stay bytes on both sides, as the wire has them: joining and cutting bytes once per batch is far cheaper than
handling an array per request.
"""

from __future__ import annotations

import logging
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

import numpy as np

from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from inference.contract.artifact import Manifest

WIRE_FLOAT32: Final = np.dtype("<f4")

_LOG = logging.getLogger(__name__)


class Priority(IntEnum):
    """What an answer is for; the smaller, the more urgent."""

    LIVE_MATCH = 0
    PREFETCH = 1
    ANALYTICS = 2


class Request(NamedTuple):
    """Players to score. (Named tuples: thousands are made every second.)

    Attributes:
        values: (rows, features) float32, little-endian, row by row.
        rows: how many players, at least one.
        columns: indices of the behaviours asked for, in the caller's order; None: all, in the model's order.
        nan_is_missing: NaN marks a missing value; otherwise it is a fault.
        request_id: echoed.
        dropped_sessions: sessions that cleaning took away on the way here.
        priority: what the answer is for.
        form: what the method that decoded it needs to encode the reply; the core hands it back unread.
    """

    values: bytes
    rows: int
    columns: tuple[int, ...] | None = None
    nan_is_missing: bool = False
    request_id: str = ""
    dropped_sessions: int = 0
    priority: Priority = Priority.LIVE_MATCH
    form: object = None


new_request: Final = cast(
    "Callable[[tuple[bytes, int, tuple[int, ...] | None, bool, str, int, Priority, object]], Request]",
    partial(tuple.__new__, Request),
)
"""A request from its fields in order. (A named tuple's own constructor is a Python function; this one is C.)"""


class Response(NamedTuple):
    """The answer to one request.

    Attributes:
        request: what it answers.
        values: (rows, behaviours asked for) float32, little-endian, row by row; always finite.
        degraded: the model failed and `values` are the priors.
    """

    request: Request
    values: bytes
    degraded: bool = False


new_response: Final = cast("Callable[[tuple[Request, bytes, bool]], Response]", partial(tuple.__new__, Response))
"""The same of a response."""


class Scorer(Protocol):
    """What the core needs of an engine."""

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(players, features) → (players, behaviours)."""
        ...


class Core:
    """One model behind a list of requests.

    A request the model fails on (an exception, or an output that is not finite) is answered with the priors and
    `degraded`: a game server must get an answer even on a bad day. The other requests of the batch keep theirs.
    """

    def __init__(self, engine: Scorer, manifest: Manifest) -> None:
        self._engine = engine
        self._features = manifest.features
        self._behaviours = len(manifest.behaviours)
        self._priors = np.array([manifest.priors[name] for name in manifest.behaviour_names], dtype=WIRE_FLOAT32)

    def predict(self, requests: Sequence[Request]) -> list[Response | InvalidRequest]:
        """Answer every request, in order, with one run of the engine; a faulty one is answered with its fault."""
        values = requests[0].values if len(requests) == 1 else b"".join([request.values for request in requests])
        rows = np.frombuffer(values, dtype=WIRE_FLOAT32).reshape(-1, len(self._features))
        if not _all_finite(rows) and (faults := self._faults(requests, rows)):
            sound = [request for index, request in enumerate(requests) if index not in faults]
            answers = iter(self.predict(sound) if sound else [])
            return [faults[index] if index in faults else next(answers) for index in range(len(requests))]
        try:
            outputs = self._run(rows)
        except Exception:  # whatever it is: find out whose it is, by running each alone
            _LOG.exception("the engine failed on %d requests", len(requests))
            if len(requests) == 1:
                return [self._degraded(requests[0])]
            return [answer for request in requests for answer in self.predict([request])]
        return self._scatter(requests, outputs)

    def _faults(self, requests: Sequence[Request], rows: NDArray[np.float32]) -> dict[int, InvalidRequest]:
        """Index of each request that holds an infinite or unexplained NaN value → the first such value."""
        faults = {}
        begin = 0
        for index, request in enumerate(requests):
            own = rows[begin : begin + request.rows]
            begin += request.rows
            wrong = np.isinf(own) if request.nan_is_missing else ~np.isfinite(own)
            if wrong.any():
                faults[index] = not_finite("values", own, wrong, self._features, nan_is_missing=request.nan_is_missing)
        return faults

    def _run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = self._engine.run(rows)
        if outputs.shape != (len(rows), self._behaviours):
            msg = f"the engine answered {outputs.shape} to {len(rows)} rows of {self._behaviours} behaviours"
            raise RuntimeError(msg)
        return outputs

    def _scatter(self, requests: Sequence[Request], outputs: NDArray[np.float32]) -> list[Response | InvalidRequest]:
        all_finite = _all_finite(outputs)
        # Cut as bytes: a slice of bytes costs a fraction of an array's.
        whole = outputs.astype(WIRE_FLOAT32, copy=False).tobytes()
        row_bytes = self._behaviours * WIRE_FLOAT32.itemsize
        answers: list[Response | InvalidRequest] = []
        begin = 0
        for request in requests:
            end = begin + request.rows
            if not (all_finite or _all_finite(outputs[begin:end])):
                _LOG.error("the model's output is not finite; request %r gets the priors", request.request_id)
                answers.append(self._degraded(request))
            elif request.columns is None:
                answers.append(new_response((request, whole[begin * row_bytes : end * row_bytes], False)))
            else:
                asked = outputs[begin:end, request.columns]
                answers.append(Response(request, asked.astype(WIRE_FLOAT32, copy=False).tobytes()))
            begin = end
        return answers

    def _degraded(self, request: Request) -> Response:
        priors = self._priors if request.columns is None else self._priors[list(request.columns)]
        return Response(request, priors.tobytes() * request.rows, degraded=True)


def _all_finite(values: NDArray[np.float32]) -> bool:
    # `all` takes a detour through Python, which for a few values is most of the time.
    return bool(np.count_nonzero(np.isfinite(values)) == values.size)


def not_finite(
    where: str,
    rows: NDArray[np.float32],
    wrong: NDArray[np.bool_],
    names: Sequence[str],
    *,
    nan_is_missing: bool,
) -> InvalidRequest:
    """The fault of the first value that is `wrong`: which player, which feature, what to do.

    Args:
        where: the field that holds the values.
        rows: (players, features).
        wrong: same shape, true somewhere.
        names: of the columns.
        nan_is_missing: whether NaN was allowed.
    """
    row, column = (int(index) for index in np.argwhere(wrong)[0])
    value = float(rows[row, column])
    return InvalidRequest(
        f"{where} row {row}, feature {names[column]}",
        got=value,
        expected="a finite number, or NaN for a missing value" if nan_is_missing else "a finite number",
        fix="Set nan_is_missing if NaN marks a missing value." if np.isnan(value) else "",
    )
