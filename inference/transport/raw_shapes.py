"""`ModelInfer` requests with one raw matrix by their shape: the same bytes around other values (see `shapes`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from inference.pb.inference import grpc_service_pb2 as pb
from inference.transport.shapes import ShapeStore
from inference.transport.tensors import FEATURES

if TYPE_CHECKING:
    from inference.calls import Asked
    from inference.transport.shapes import Choose

_NAME_AND_VERSION_TAGS: Final = (b"\n", b"\x12")
_ID_TAG: Final = b"\x1a"


class RawShapes(ShapeStore):
    """The shapes that were seen lately. The id stands behind the model's name and version, the values come last.

    Args:
        generation: of the models: with another one they are worthless.
    """

    def __init__(self, generation: int) -> None:
        super().__init__(generation, _ID_TAG, _NAME_AND_VERSION_TAGS)

    def learn(self, message: bytes, parsed: pb.ModelInferRequest, asked: Asked, choose: Choose | None = None) -> None:
        """Remember the shape of a message, if its values are at its end and its id is where it usually is.

        Serializers may order a map's entries and much else as they like. So nothing is assumed of them: the message is
        taken apart, put together with another id and other values, and has to parse to exactly those.
        """
        if len(parsed.raw_input_contents) != 1 or parsed.inputs[0].name != FEATURES:
            return
        values = parsed.raw_input_contents[0]
        begin, end = self.id_field(message)
        if not message.endswith(values) or len(message) - len(values) < end or (begin == end) == bool(parsed.id):
            return
        before, head = message[:begin], message[end : len(message) - len(values)]
        other = bytes(byte ^ 0xFF for byte in values)
        expected = pb.ModelInferRequest()
        expected.CopyFrom(parsed)
        expected.id = ""
        expected.raw_input_contents[0] = other
        try:
            if pb.ModelInferRequest.FromString(before + head + other) != expected:
                return
        except DecodeError:
            return
        self.remember(before, head, b"", asked, choose=choose)
