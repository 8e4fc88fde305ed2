"""Packed requests by their shape: whoever sends the same bytes around other values asks the same of other players.

Parsing a message costs several times what it takes to see that it is, but for its values, one that was parsed before.
Game servers send the same few shapes over and over: as many shapes are kept as there are lobby sizes and sets of
behaviours. While a version is on trial a shape is kept for it and for the live one, and each call chooses between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from inference.calls import Asked, new_asked
from inference.core import Priority, new_request
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.models import ServedModel

    Choose = Callable[[str, str], ServedModel]
    """Routing key and request id, either may be empty → the model that the call meets; may raise `Refused`."""

_MAX_SIZES: Final = 1_024
_MAX_SHAPES_OF_A_SIZE: Final = 8
"""Other behaviours, another priority or a version on trial make another shape of the same size."""
_MAX_SHAPE_BYTES: Final = 2_048
"""What surrounds the values of any sensible request is a few hundred bytes. Together at most 16 MiB are kept."""
_REQUEST_ID_TAG: Final = b"\n"
"""Field 1, length-delimited: as different from call to call as the values."""
_ROUTING_KEY_TAG: Final = b"R"
"""Field 10, length-delimited: likewise, and the last one of a message."""
_ONE_BYTE_LENGTH: Final = 0x80


class _Shape(NamedTuple):
    """What surrounds the id, the values and the routing key: `before` the id, `head` between it and the values, `tail`
    behind those; then comes the key, if any.
    """

    before: bytes
    head: bytes
    tail: bytes
    key_bytes: int
    choose: Choose | None
    model: ServedModel
    rows: int
    columns: tuple[int, ...] | None
    nan_is_missing: bool
    priority: Priority
    form: object
    timeout_seconds: float


class ShapeStore:
    """Shapes by the size of their messages without the id.

    Args:
        generation: of the models: with another one they are worthless.
        id_tag: of the request id, a length-delimited field.
        tags_before_id: of the length-delimited fields that may stand before it, in order.
    """

    def __init__(self, generation: int, id_tag: bytes, tags_before_id: tuple[bytes, ...] = ()) -> None:
        self.generation = generation
        self._id_tag = id_tag
        self._tags_before_id = tags_before_id
        self._by_size: dict[int, tuple[_Shape, ...]] = {}

    def recognise(self, message: bytes) -> Asked | None:
        """What a message asks, if its shape is known."""
        begin, end = self.id_field(message)
        size = len(message)
        chosen: ServedModel | None = None
        for shape in self._by_size.get(size - end + begin, ()):
            before, head, tail, key_bytes, choose, model, rows, columns, nan_is_missing, priority, form, timeout = shape
            first = end + len(head)
            last = size - key_bytes - len(tail)
            if (
                message[end:first] != head
                or (tail and message[last : size - key_bytes] != tail)
                or len(before) != begin
                or not message.startswith(before)
            ):
                continue
            request_id = ""
            if begin != end:
                if end - begin - 2 > model.codec.max_request_id_bytes:  # the parser has a word for it
                    return None
                try:
                    request_id = message[begin + 2 : end].decode()
                except UnicodeDecodeError:  # and for what is no text
                    return None
            if choose is not None:
                if chosen is None and (chosen := _chosen(choose, message[size - key_bytes :], request_id)) is None:
                    return None
                if chosen is not model:
                    continue
            elif key_bytes and not _is_text(message[size - key_bytes :]):
                return None
            values = message[first:last]
            request = new_request((values, rows, columns, nan_is_missing, request_id, 0, priority, form))
            return new_asked((model, request, timeout))
        return None

    def remember(
        self, before: bytes, head: bytes, tail: bytes, asked: Asked, *, key_bytes: int = 0, choose: Choose | None = None
    ) -> None:
        """Keep a shape, of which `asked` is one example, unless it is so large that a few would fill the memory.

        Args:
            before: what comes before the id.
            head: between id and values.
            tail: between values and routing key.
            asked: what a message of the shape came to.
            key_bytes: of the routing key.
            choose: whether a message of the shape asks this model; none where all do.
        """
        if len(before) + len(head) + len(tail) > _MAX_SHAPE_BYTES:
            return
        if len(self._by_size) >= _MAX_SIZES:
            self._by_size.clear()
        model, request, timeout_seconds = asked
        size = len(before) + len(head) + len(request.values) + len(tail) + key_bytes
        shape = _Shape(
            before,
            head,
            tail,
            key_bytes,
            choose,
            model,
            request.rows,
            request.columns,
            request.nan_is_missing,
            request.priority,
            request.form,
            timeout_seconds,
        )
        others = self._by_size.get(size, ())
        self._by_size[size] = (shape, *others[: _MAX_SHAPES_OF_A_SIZE - 1])

    def id_field(self, message: bytes) -> tuple[int, int]:
        """Where the request id's field begins and ends; the same twice where it is not in its usual place."""
        begin, size = 0, len(message)
        for tag in self._tags_before_id:
            if message[begin : begin + 1] == tag and begin + 1 < size and message[begin + 1] < _ONE_BYTE_LENGTH:
                begin += 2 + message[begin + 1]
        if message[begin : begin + 1] == self._id_tag and begin + 2 < size and message[begin + 1] < _ONE_BYTE_LENGTH:
            return begin, begin + 2 + message[begin + 1]
        return begin, begin


class Shapes(ShapeStore):
    """The shapes of `Predict` that were seen lately, and the models they ask.

    Args:
        generation: of the models: with another one they are worthless.
    """

    def __init__(self, generation: int) -> None:
        super().__init__(generation, _REQUEST_ID_TAG)

    def learn(self, message: bytes, parsed: pb.PredictRequest, asked: Asked, choose: Choose | None = None) -> None:
        """Remember the shape of a packed message, if it is written as protobuf's own serializers do."""
        plain = pb.PredictRequest()
        plain.CopyFrom(parsed)
        plain.request_id = ""
        without_id = plain.SerializeToString()
        begin = len(message) - len(without_id)
        if parsed.SerializeToString() != message or not message.endswith(without_id) or begin >= _ONE_BYTE_LENGTH:
            return
        key = parsed.routing_key.encode()
        if key and (len(key) >= _ONE_BYTE_LENGTH or not message.endswith(_ROUTING_KEY_TAG + bytes([len(key)]) + key)):
            return
        count = len(asked.request.values)
        plain.packed_rows.values = b"\x00" * count
        zeros = plain.SerializeToString()
        plain.packed_rows.values = b"\xff" * count
        ones = plain.SerializeToString()
        head = zeros[: next(index for index, (a, b) in enumerate(zip(zeros, ones, strict=True)) if a != b)]
        tail = zeros[len(head) + count : len(zeros) - len(key)]
        self.remember(b"", head, tail, asked, key_bytes=len(key), choose=choose)


def _chosen(choose: Choose, key: bytes, request_id: str) -> ServedModel | None:
    """The model that a call meets; none where the parser or the models have a word for it."""
    try:
        return choose(key.decode(), request_id)
    except (UnicodeDecodeError, Refused):
        return None


def _is_text(key: bytes) -> bool:
    try:
        key.decode()
    except UnicodeDecodeError:
        return False
    return True
