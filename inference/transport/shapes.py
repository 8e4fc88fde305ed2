"""Packed requests by their shape: whoever sends the same bytes around other values asks the same of other players.

Parsing a message costs several times what it takes to see that it is, but for its values, one that was parsed before.
Game servers send the same few shapes over and over: as many shapes are kept as there are lobby sizes and sets of
behaviours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from inference.calls import Asked
from inference.core import Request
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
    """What surrounds the values, from the end of the request id on."""

    head: bytes
    tail: bytes
    model: ServedModel
    asked: Request
    max_request_id_bytes: int


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
        begin = 0
        if message[:1] == _REQUEST_ID_TAG and len(message) > 2 and message[1] < _ONE_BYTE_LENGTH:
            begin = 2 + message[1]
        for shape in self._by_size.get(len(message) - begin, ()):
            head, tail, model, asked, max_request_id_bytes = shape
            if message.startswith(head, begin) and message.endswith(tail):
                break
        else:
            return None
        request_id = ""
        if begin:
            if begin - 2 > max_request_id_bytes:  # the parser has a word for it, and for what is no text
                return None
            try:
                request_id = message[2:begin].decode()
            except UnicodeDecodeError:
                return None
        values = message[begin + len(head) : len(message) - len(tail)]
        return Asked(
            model, Request(values, asked.rows, asked.columns, asked.nan_is_missing, request_id, 0, asked.priority)
        )

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
        shape = _Shape(
            head,
            zeros[len(head) + count :],
            asked.model,
            asked.request._replace(values=b"", request_id=""),
            asked.model.codec.max_request_id_bytes,
        )
        others = self._by_size.get(len(without_id), ())
        self._by_size[len(without_id)] = (shape, *others[: _MAX_SHAPES_OF_A_SIZE - 1])
