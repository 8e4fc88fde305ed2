"""Messages of the Open Inference Protocol v2 ↔ requests and responses of the core, for one model.

In: the matrix `features` (rows, features), or one tensor per feature by its name; out: the matrix `predictions`
(rows, behaviours), or one tensor per behaviour by its name. All of them FP32: that is what the model computes in, and
rounding silently what a caller holds in FP64 is not for the server to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from inference.contract.errors import InvalidRequest
from inference.core import WIRE_FLOAT32, Request, Response
from inference.pb.inference import grpc_service_pb2 as pb
from inference.transport import checks, parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.contract.artifact import Manifest
    from inference.settings import Limits
    from inference.transport.parameters import Parameters

    InputTensor = pb.ModelInferRequest.InferInputTensor

FEATURES: Final = "features"
PREDICTIONS: Final = "predictions"
DATATYPE: Final = "FP32"

_CONTENTS: Final = "fp32_contents"
_MAX_SHOWN_DIMENSIONS: Final = 8
_MAX_PLANS: Final = 4_096


class Form(NamedTuple):
    """How a reply is to look.

    Attributes:
        outputs: names of its tensors, in order.
        is_raw: values as bytes; otherwise in fields by datatype. A reply is as its request was.
    """

    outputs: tuple[str, ...]
    is_raw: bool


class _Plan(NamedTuple):
    """What all raw replies of one shape have in common.

    Attributes:
        head: all fields but the id and the values.
        tensors: per output the bytes before its values, and its column in the response; None: all of them.
    """

    head: bytes
    tensors: tuple[tuple[bytes, int | None], ...]


class TensorCodec:
    """Decodes and encodes for one model. Any thread may use it.

    Args:
        manifest: the model's features and behaviours.
        limits: what a request may ask for.
    """

    def __init__(self, manifest: Manifest, limits: Limits) -> None:
        self._limits = limits
        self._features = manifest.features
        self._behaviours = manifest.behaviour_names
        self._outputs = (PREDICTIONS, *(name for name in self._behaviours if name != PREDICTIONS))
        self._column = {name: column for column, name in enumerate(self._behaviours)}
        self._name, self._version = manifest.name, manifest.version
        self._plans: dict[tuple[int, Form, bool], _Plan] = {}

    def decode(self, sent: pb.ModelInferRequest, asked: Parameters) -> Request:
        """A `ModelInferRequest` → a request of the core.

        Everything is checked but whether the values of a matrix are finite, which the core does for a whole batch.

        Raises:
            InvalidRequest: names the field, what was got, what was expected.
        """
        checks.check_size("id", sent.id, self._limits)
        if not sent.inputs:
            raise InvalidRequest("inputs", got="none", expected=f"{FEATURES}, or features by name")
        self._check_contents(sent)
        columns, outputs = self._asked(sent.outputs)
        form = Form(outputs, bool(sent.raw_input_contents))
        if sent.inputs[0].name == FEATURES and len(sent.inputs) == 1:
            values, rows = self._matrix(sent)
            return Request(values, rows, columns, asked.nan_is_missing, sent.id, 0, asked.priority, form)
        values, rows = self._named(sent, nan_is_missing=asked.nan_is_missing)
        return Request(values, rows, columns, True, sent.id, 0, asked.priority, form)

    def encode(self, response: Response) -> bytes:
        """A response → a `ModelInferResponse` as bytes."""
        request, values, degraded = response
        form = request.form
        assert isinstance(form, Form), "a request that this codec has decoded"
        if not form.is_raw:
            return self._typed(response, form).SerializeToString()
        key = (request.rows, form, degraded)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._plan(response, form)
        parts = [pb.ModelInferResponse(id=request.request_id).SerializeToString()] if request.request_id else []
        parts.append(plan.head)
        for before, column in plan.tensors:
            parts += (before, _chosen(values, request.rows, column))
        return b"".join(parts)

    def _check_contents(self, sent: pb.ModelInferRequest) -> None:
        """The values come in one of both forms, in FP32."""
        raw = len(sent.raw_input_contents)
        if raw and raw != len(sent.inputs):
            raise InvalidRequest(
                "raw_input_contents", got=f"{raw} of them", expected=f"{len(sent.inputs)}, one per input"
            )
        for position, tensor in enumerate(sent.inputs):
            where = f"inputs[{position}]"
            parameters.refuse_others(where, tensor.parameters)
            if tensor.datatype != DATATYPE:
                raise InvalidRequest(
                    f"{where}.datatype",
                    got=checks.quoted(tensor.datatype),
                    expected=DATATYPE,
                    fix="Convert the values to 32-bit floats.",
                )
            filled = [field.name for field, _ in tensor.contents.ListFields()]
            if raw and filled:
                raise InvalidRequest(
                    f"{where}.contents",
                    got=filled[0],
                    expected="nothing: raw_input_contents is used, which excludes it",
                )
            if filled not in ([], [_CONTENTS]):
                raise InvalidRequest(f"{where}.contents", got=", ".join(filled), expected=f"{_CONTENTS} for {DATATYPE}")

    def _asked(
        self, outputs: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor]
    ) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
        """Columns that the core is to answer (None: all), and names of the tensors they go into."""
        names: dict[str, None] = {}
        for position, output in enumerate(outputs):
            where = f"outputs[{position}]"
            parameters.refuse_others(where, output.parameters)
            if output.name not in self._outputs:
                raise checks.unknown(f"{where}.name", output.name, self._outputs, "an output of this model")
            if output.name in names:
                raise InvalidRequest(f"{where}.name", got=f"{output.name!r} again", expected="each output once")
            names[output.name] = None
        if not names or PREDICTIONS in names:
            return None, tuple(names) or (PREDICTIONS,)
        return tuple(self._column[name] for name in names), tuple(names)

    def _matrix(self, sent: pb.ModelInferRequest) -> tuple[bytes, int]:
        shape, features = sent.inputs[0].shape, len(self._features)
        if len(shape) != 2 or shape[1] != features:
            raise InvalidRequest("inputs[0].shape", got=_shown(shape), expected=f"[rows, {features}]")
        rows = shape[0]
        checks.check_rows("inputs[0].shape", rows, self._limits)
        return self._values(sent, 0, rows * features), rows

    def _named(self, sent: pb.ModelInferRequest, *, nan_is_missing: bool) -> tuple[bytes, int]:
        columns = []
        for position, tensor in enumerate(sent.inputs):
            where, shape = f"inputs[{position}]", tensor.shape
            if tensor.name == FEATURES:
                raise InvalidRequest(
                    f"{where}.name", got=f"{FEATURES!r} among others", expected=f"{FEATURES} alone, or features by name"
                )
            if tensor.name not in self._features:
                known = (FEATURES, *self._features)
                raise checks.unknown(f"{where}.name", tensor.name, known, "an input of this model")
            if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
                raise InvalidRequest(f"{where}.shape", got=_shown(shape), expected="[rows] or [rows, 1]")
            checks.check_rows(f"{where}.shape", shape[0], self._limits)
            values = np.frombuffer(self._values(sent, position, shape[0]), WIRE_FLOAT32)
            columns.append(checks.Column(f"{where}.name", tensor.name, where, values))
        return checks.rows_by_name(columns, self._features, self._limits, nan_is_missing=nan_is_missing)

    def _values(self, sent: pb.ModelInferRequest, position: int, count: int) -> bytes:
        """The values of one input, as many as its shape says."""
        if sent.raw_input_contents:
            raw = sent.raw_input_contents[position]
            size = count * WIRE_FLOAT32.itemsize
            if len(raw) != size:
                raise InvalidRequest(
                    f"raw_input_contents[{position}]",
                    got=f"{len(raw)} bytes",
                    expected=f"{size}: {count} values of {DATATYPE}, as the shape says",
                )
            return raw
        typed = sent.inputs[position].contents.fp32_contents
        if len(typed) != count:
            raise InvalidRequest(
                f"inputs[{position}].contents.{_CONTENTS}",
                got=f"{len(typed)} values",
                expected=f"{count}, as the shape says",
            )
        return np.array(typed, dtype=WIRE_FLOAT32).tobytes()

    def _frame(self, response: Response, form: Form) -> pb.ModelInferResponse:
        """A reply without id and values."""
        rows = response.request.rows
        reply = pb.ModelInferResponse(model_name=self._name, model_version=self._version)
        if response.degraded:
            reply.parameters["degraded"].bool_param = True
        for name in form.outputs:
            shape = [rows, len(self._behaviours)] if name == PREDICTIONS else [rows]
            reply.outputs.add(name=name, datatype=DATATYPE, shape=shape)
        return reply

    def _columns(self, response: Response, form: Form) -> list[int | None]:
        """Per output: its column in the response's values; None: all of them."""
        columns = response.request.columns
        return [
            None
            if name == PREDICTIONS
            else self._column[name]
            if columns is None
            else columns.index(self._column[name])
            for name in form.outputs
        ]

    def _plan(self, response: Response, form: Form) -> _Plan:
        tensors = []
        for column in self._columns(response, form):
            values = _chosen(response.values, response.request.rows, column)
            whole = pb.ModelInferResponse(raw_output_contents=[values]).SerializeToString()
            tensors.append((whole[: len(whole) - len(values)], column))
        return _Plan(self._frame(response, form).SerializeToString(), tuple(tensors))

    def _typed(self, response: Response, form: Form) -> pb.ModelInferResponse:
        reply = self._frame(response, form)
        reply.id = response.request.request_id
        for output, column in zip(reply.outputs, self._columns(response, form), strict=True):
            values = _chosen(response.values, response.request.rows, column)
            output.contents.fp32_contents.extend(np.frombuffer(values, WIRE_FLOAT32).tolist())
        return reply


def _chosen(values: bytes, rows: int, column: int | None) -> bytes:
    if column is None:
        return values
    return np.frombuffer(values, WIRE_FLOAT32).reshape(rows, -1)[:, column].tobytes()


def _shown(shape: Sequence[int]) -> str:
    shown = ", ".join(map(str, shape[:_MAX_SHOWN_DIMENSIONS]))
    return f"[{shown}{', …' if len(shape) > _MAX_SHOWN_DIMENSIONS else ''}]"
