"""Packed requests by their shape: whoever sends the same bytes around other values asks the same of other players.

Parsing a message costs several times what it takes to see that it is, but for its values, one that was parsed before.
Game servers send the same few shapes over and over: as many shapes are kept as there are lobby sizes and sets of
behaviours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from inference.calls import Asked, new_asked
from inference.core import Priority, new_request
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb

if TYPE_CHECKING:
    from inference.models import ServedModel

_MAX_SIZES: Final = 1_024
_MAX_SHAPES_OF_A_SIZE: Final = 4
"""Other behaviours or another priority make another shape of the same size."""
_REQUEST_ID_TAG: Final = b"\n"
"""Field 1, length-delimited: the only field that is as different from call to call as the values."""
_ONE_BYTE_LENGTH: Final = 0x80


class _Shape(NamedTuple):
    """What surrounds the id and the values: `before` the id, `head` between them, `tail` behind the values."""

    before: bytes
    head: bytes
    tail: bytes
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
        for shape in self._by_size.get(len(message) - end + begin, ()):
            before, head, tail, model, rows, columns, nan_is_missing, priority, form, timeout_seconds = shape
            first = end + len(head)
            if (
                message[end:first] == head
                and (not tail or message.endswith(tail))
                and len(before) == begin
                and message.startswith(before)
            ):
                break
        else:
            return None
        request_id = ""
        if begin != end:
            if (
                end - begin - 2 > model.codec.max_request_id_bytes
            ):  # the parser has a word for it, and for what is no text
                return None
            try:
                request_id = message[begin + 2 : end].decode()
            except UnicodeDecodeError:
                return None
        values = message[first : len(message) - len(tail)] if tail else message[first:]
        request = new_request((values, rows, columns, nan_is_missing, request_id, 0, priority, form))
        return new_asked((model, request, timeout_seconds))

    def remember(self, before: bytes, head: bytes, tail: bytes, asked: Asked) -> None:
        """Keep a shape, of which `asked` is one example."""
        if len(self._by_size) >= _MAX_SIZES:
            self._by_size.clear()
        size = len(before) + len(head) + len(asked.request.values) + len(tail)
        model, request, timeout_seconds = asked
        shape = _Shape(
            before,
            head,
            tail,
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

    def learn(self, message: bytes, parsed: pb.PredictRequest, asked: Asked) -> None:
        """Remember the shape of a packed message, if it is written as protobuf's own serializers do."""
        plain = pb.PredictRequest()
        plain.CopyFrom(parsed)
        plain.request_id = ""
        without_id = plain.SerializeToString()
        begin = len(message) - len(without_id)
        if parsed.SerializeToString() != message or not message.endswith(without_id) or begin >= _ONE_BYTE_LENGTH:
            return
        count = len(asked.request.values)
        plain.packed_rows.values = b"\x00" * count
        zeros = plain.SerializeToString()
        plain.packed_rows.values = b"\xff" * count
        ones = plain.SerializeToString()
        head = zeros[: next(index for index, (a, b) in enumerate(zip(zeros, ones, strict=True)) if a != b)]
        self.remember(b"", head, zeros[len(head) + count :], asked)
