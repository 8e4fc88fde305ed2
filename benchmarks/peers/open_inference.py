"""Messages of the Open Inference Protocol v2, which MLServer, KServe and Triton speak: prepared once, read back.

Only the fields used here, in a descriptor pool of their own. Numbers and types: the protocol's
`open_inference_grpc.proto`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from numpy.typing import NDArray

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_INT64, _FLOAT, _STRING, _BYTES = (
    FieldDescriptorProto.TYPE_INT64,
    FieldDescriptorProto.TYPE_FLOAT,
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_BYTES,
)
_SCALARS: Final[dict[str, dict[str, tuple[int, Any, bool]]]] = {
    "Contents": {"fp32_contents": (6, _FLOAT, True)},
    "Tensor": {"name": (1, _STRING, False), "datatype": (2, _STRING, False), "shape": (3, _INT64, True)},
    "Request": {"model_name": (1, _STRING, False), "raw_input_contents": (7, _BYTES, True)},
    "Response": {"model_name": (1, _STRING, False), "raw_output_contents": (6, _BYTES, True)},
}
"""Message → field → number, type, repeated. Input and output tensors have the same fields."""
_NESTED: Final = (
    ("Tensor", "contents", 5, "Contents"),
    ("Request", "inputs", 5, "Tensor"),
    ("Response", "outputs", 5, "Tensor"),
)


def request(model: str, rows: NDArray[np.float32]) -> bytes:
    """Rows (players, features) for one model, as raw contents."""
    tensor = {"name": "features", "datatype": "FP32", "shape": rows.shape}
    message = _messages()["Request"](
        model_name=model, inputs=[tensor], raw_input_contents=[rows.astype("<f4").tobytes()]
    )
    return bytes(message.SerializeToString())


def output(reply: bytes) -> NDArray[np.float32]:
    """The only output tensor of a reply, in its shape; raw or typed contents."""
    message: Any = _messages()["Response"].FromString(reply)
    (tensor,) = message.outputs
    raw = message.raw_output_contents
    values = np.frombuffer(raw[0], "<f4") if raw else np.array(tensor.contents.fp32_contents, np.float32)
    return values.reshape(tuple(tensor.shape))


@cache
def _messages() -> dict[str, type[Message]]:
    file = FileDescriptorProto(name="peers.proto", package="peers", syntax="proto3")
    described: dict[str, DescriptorProto] = {}
    for name, fields in _SCALARS.items():
        described[name] = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            described[name].field.add(name=field, number=number, type=kind, label=_label(repeated))
    for name, field, number, inner in _NESTED:
        described[name].field.add(
            name=field,
            number=number,
            type=FieldDescriptorProto.TYPE_MESSAGE,
            type_name=f".peers.{inner}",
            label=_label(field != "contents"),
        )
    pool = DescriptorPool()
    pool.Add(file)
    return {name: GetMessageClass(pool.FindMessageTypeByName(f"peers.{name}")) for name in _SCALARS}


def _label(repeated: bool) -> Any:
    return FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
