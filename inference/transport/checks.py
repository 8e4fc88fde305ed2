"""What every decoder checks in the same way and says in the same words, whichever protocol a request comes in."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from inference.contract.errors import InvalidRequest
from inference.core import WIRE_FLOAT32, not_finite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from inference.settings import Limits

_MAX_QUOTED: Final = 64
_MAX_LISTED: Final = 50

M = TypeVar("M", bound=Message)


def parse(kind: type[M], message: bytes) -> M:
    """Bytes → a message of that kind.

    Raises:
        InvalidRequest: they are none.
    """
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise InvalidRequest(
            "request", got=f"{len(message)} bytes that do not parse", expected=f"a {kind.DESCRIPTOR.full_name}"
        ) from error


def quoted(name: str) -> str:
    """A name as the caller wrote it, cut short: a status must fit into HTTP/2 headers."""
    return repr(name if len(name) <= _MAX_QUOTED else name[:_MAX_QUOTED] + "…")


def unknown(where: str, name: str, known: Sequence[str], what: str) -> InvalidRequest:
    """The fault of a name that is none of those that are known, with the nearest one."""
    nearest = difflib.get_close_matches(name[:_MAX_QUOTED], known, n=1, cutoff=0.5)
    listed = ", ".join(known[:_MAX_LISTED]) + (", …" if len(known) > _MAX_LISTED else "")
    return InvalidRequest(
        where,
        got=quoted(name),
        expected=f"{what}: {listed}",
        fix=f"Did you mean {nearest[0]!r}?" if nearest else "",
    )


def check_size(where: str, text: str, limits: Limits) -> None:
    """A text of the caller's own, an id or a key, is short.

    Raises:
        InvalidRequest: it is not.
    """
    if text and (size := len(text.encode())) > limits.max_request_id_bytes:
        raise InvalidRequest(where, got=f"{size} bytes", expected=f"at most {limits.max_request_id_bytes}")


def check_rows(where: str, rows: int, limits: Limits) -> None:
    """There are players, and not too many for one request.

    Raises:
        InvalidRequest: there are not.
    """
    if not 1 <= rows <= limits.max_rows_per_request:
        raise InvalidRequest(
            where,
            got=f"{rows} players",
            expected=f"1 to {limits.max_rows_per_request} in one request",
            fix="Split it into several requests." if rows > 0 else "",
        )


class Column(NamedTuple):
    """The values of one feature, and what to call them in a fault.

    Attributes:
        where_name: the field that holds the name.
        name: of the feature.
        where_values: the field that holds the values.
        values: one a player.
    """

    where_name: str
    name: str
    where_values: str
    values: Sequence[float] | NDArray[np.float32]


def rows_by_name(
    columns: Sequence[Column], features: Sequence[str], limits: Limits, *, nan_is_missing: bool
) -> tuple[bytes, int]:
    """Columns by name → (rows, features) float32 as the core takes them, and how many rows.

    What is left out is missing by intent; what is sent is held to the caller's word.

    Raises:
        InvalidRequest: an unknown or repeated name, columns of different lengths, a value that is not finite.
    """
    count = len(columns[0].values)
    check_rows(columns[0].where_values, count, limits)
    rows = np.full((count, len(features)), np.nan, dtype=WIRE_FLOAT32)
    position = {name: index for index, name in enumerate(features)}
    seen = set()
    for where_name, name, where_values, values in columns:
        column = position.get(name)
        if column is None:
            raise unknown(where_name, name, features, "a feature of this model")
        if column in seen:
            raise InvalidRequest(where_name, got=f"{name!r} again", expected="each feature once")
        if len(values) != count:
            raise InvalidRequest(
                where_values,
                got=f"{len(values)} values of {name}",
                expected=f"{count}, as many as in the first column",
            )
        seen.add(column)
        sent = rows[:, column]
        sent[:] = np.asarray(values, dtype=np.float32)
        wrong = np.isinf(sent) if nan_is_missing else ~np.isfinite(sent)
        if wrong.any():
            raise not_finite(where_values, sent[:, None], wrong[:, None], (name,), nan_is_missing=nan_is_missing)
    return rows.tobytes(), count
