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
_REQUEST_ID_TAG: Final = 10
"""Field 1, length-delimited: the only field that is as different from call to call as the values."""
_ONE_BYTE_LENGTH: Final = 0x80


class _Shape(NamedTuple):
    """What surrounds the values, from the end of the request id on."""

    head: bytes
    tail: bytes
    model: ServedModel
    rows: int
    columns: tuple[int, ...] | None
    nan_is_missing: bool
    priority: Priority


class Shapes:
    """The shapes that were seen lately, and the models they ask.

    Args:
        generation: of the models: with another one they are worthless.
    """

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._by_size: dict[int, tuple[_Shape, ...]] = {}

    def recognise(self, message: bytes) -> Asked | None:
        """What a message asks, if its shape is known."""
        size = len(message)
        begin = 0
        request_id = ""
        if size > 2 and message[0] == _REQUEST_ID_TAG and message[1] < _ONE_BYTE_LENGTH:
            begin = 2 + message[1]
            try:
                request_id = message[2:begin].decode()
            except UnicodeDecodeError:  # the parser has a word for it
                return None
        for head, tail, model, rows, columns, nan_is_missing, priority in self._by_size.get(size - begin, ()):
            first = begin + len(head)
            if message[begin:first] == head and (not tail or message.endswith(tail)):
                if begin and begin - 2 > model.codec.max_request_id_bytes:  # for this, too
                    return None
                values = message[first : size - len(tail)] if tail else message[first:]
                return new_asked((model, new_request((values, rows, columns, nan_is_missing, request_id, 0, priority))))
        return None

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
        if len(self._by_size) >= _MAX_SIZES:
            self._by_size.clear()
        request = asked.request
        tail = zeros[len(head) + count :]
        shape = _Shape(head, tail, asked.model, request.rows, request.columns, request.nan_is_missing, request.priority)
        others = self._by_size.get(len(without_id), ())
        self._by_size[len(without_id)] = (shape, *others[: _MAX_SHAPES_OF_A_SIZE - 1])
