"""Layers as nodes of an ONNX graph: one reader per operator, from a node to the chain that ends with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fusion.teachers.graph_view import NotLayers, attribute
from fusion.teachers.recurrent_reader import read_recurrent
from fusion.teachers.structure import (
    Activation,
    Affine,
    Chain,
    Clip,
    Dense,
    Function,
    Impute,
    Join,
    LayerNorm,
    Select,
)

if TYPE_CHECKING:
    import onnx

    from fusion.teachers.graph_view import GraphView
    from fusion.teachers.structure import Layer
    from fusion.teachers.structure_reader import Reader

_ACTIVATIONS: Final = MappingProxyType(
    {
        "Relu": (Function.RELU, 0.0),
        "LeakyRelu": (Function.LEAKY_RELU, 0.01),
        "Elu": (Function.ELU, 1.0),
        "Tanh": (Function.TANH, 0.0),
        "Sigmoid": (Function.SIGMOID, 0.0),
        "Softplus": (Function.SOFTPLUS, 0.0),
    }
)
"""Operator → function, and its `alpha` where the node does not say."""


def _place(node: onnx.NodeProto) -> str:
    return f"node {node.name or node.output[0]}"


def _by_column(values: NDArray[Any], node: onnx.NodeProto) -> NDArray[np.float64]:
    """A constant that goes along the columns, or is one number, as (columns,) or (1,)."""
    if values.size not in (1, *values.shape[-1:]):
        raise NotLayers(f"{node.op_type} ({_place(node)}) is not column by column")
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _affine(scale: NDArray[np.float64] | float, shift: NDArray[np.float64] | float) -> Affine:
    scales, shifts = np.broadcast_arrays(np.atleast_1d(scale), np.atleast_1d(shift))
    return Affine(scales.astype(np.float32), shifts.astype(np.float32))


def _dense(weight: NDArray[np.float64], bias: NDArray[np.float64] | float) -> Dense:
    return Dense(weight.astype(np.float32), np.broadcast_to(bias, len(weight)).astype(np.float32))


def _gemm(reader: Reader, node: onnx.NodeProto) -> Chain:
    if attribute(node, "transA", 0):
        raise NotLayers(f"Gemm ({_place(node)}) turns its rows into columns")
    weight = reader.view.weight(node.input[1])
    weight = attribute(node, "alpha", 1.0) * (weight if attribute(node, "transB", 0) else weight.T)
    shift: NDArray[np.float64] | float = 0.0
    if len(node.input) > 2:
        shift = attribute(node, "beta", 1.0) * _by_column(reader.view.weight(node.input[2]), node)
    return reader.chain(node.input[0]).then(_dense(weight, shift))


def _mat_mul(reader: Reader, node: onnx.NodeProto) -> Chain:
    weight = reader.view.weight(node.input[1])
    if weight.ndim != 2:
        raise NotLayers(f"MatMul ({_place(node)}) is of other than two axes")
    return reader.chain(node.input[0]).then(_dense(weight.T, 0.0))


def _arithmetic(reader: Reader, node: onnx.NodeProto) -> Chain:
    """Add, Sub, Mul, Div of a value and a constant; or a pattern of two values that is one function."""
    left, right = (reader.view.constant(name) for name in node.input)
    if right is not None:
        number = _by_column(right, node)
        layer = {
            "Add": _affine(1.0, number),
            "Sub": _affine(1.0, -number),
            "Mul": _affine(number, 0.0),
            "Div": _affine(1.0 / np.where(number == 0, np.nan, number), 0.0),
        }[node.op_type]
        return reader.chain(node.input[0]).then(layer)
    if left is not None and node.op_type != "Div":
        number = _by_column(left, node)
        layer = {"Add": _affine(1.0, number), "Sub": _affine(-1.0, number), "Mul": _affine(number, 0.0)}[node.op_type]
        return reader.chain(node.input[1]).then(layer)
    found = _function_of_one(reader, node) if node.op_type == "Mul" else None
    if found is None:
        raise NotLayers(f"{node.op_type} ({_place(node)}) puts two computed values together")
    value, layers = found
    return reader.chain(value).then(*layers)


def _function_of_one(reader: Reader, node: onnx.NodeProto) -> tuple[str, tuple[Layer, ...]] | None:
    """A product of two values that both come from one, where it is a known function of that one."""
    view = reader.view
    for value, other in (node.input, reversed(node.input)):
        sign, logarithm = view.node(value, "Sign"), view.node(other, "Log")
        if sign is not None and logarithm is not None:
            inner = view.node(logarithm.input[0], "Add")
            magnitude = view.node(inner.input[0], "Abs") if inner and view.is_constant(inner.input[1], 1) else None
            if magnitude is not None and reader.same(magnitude.input[0], sign.input[0]):
                return sign.input[0], (Activation(Function.SIGNED_LOG1P),)
        sigmoid = view.node(other, "Sigmoid")
        if sigmoid is not None and reader.same(sigmoid.input[0], value):
            return value, (Activation(Function.SILU),)
        sum_ = view.node(other, "Add")
        erf = view.node(sum_.input[0], "Erf") if sum_ and view.is_constant(sum_.input[1], 1) else None
        inner = view.node(erf.input[0], "Div") if erf else None
        if inner and reader.same(inner.input[0], value) and view.is_constant(inner.input[1], math.sqrt(2)):
            # x (1 + erf(x / sqrt 2)): one half of it is GELU, and the half is the next node.
            return value, (Activation(Function.GELU), _affine(2.0, 0.0))
    return None


def _activation(reader: Reader, node: onnx.NodeProto) -> Chain:
    function, alpha = _ACTIVATIONS[node.op_type]
    return reader.chain(node.input[0]).then(Activation(function, float(attribute(node, "alpha", alpha))))


def _softmax(reader: Reader, node: onnx.NodeProto) -> Chain:
    if attribute(node, "axis", -1) not in (-1, 1):
        raise NotLayers(f"Softmax ({_place(node)}) is not over the columns")
    return reader.chain(node.input[0]).then(Activation(Function.SOFTMAX))


def _gelu(reader: Reader, node: onnx.NodeProto) -> Chain:
    if attribute(node, "approximate", "none") != "none":
        raise NotLayers(f"Gelu ({_place(node)}) is an approximation")
    return reader.chain(node.input[0]).then(Activation(Function.GELU))


def _log(reader: Reader, node: onnx.NodeProto) -> Chain:
    view = reader.view
    odds, more = view.node(node.input[0], "Div"), view.node(node.input[0], "Add")
    if odds is not None:
        rest = view.node(odds.input[1], "Sub")
        if rest and view.is_constant(rest.input[0], 1) and reader.same(rest.input[1], odds.input[0]):
            return reader.chain(odds.input[0]).then(Activation(Function.LOGIT))
    if more is not None and view.is_constant(more.input[1], 1):
        return reader.chain(more.input[0]).then(Activation(Function.LOG1P))
    raise NotLayers(f"Log ({_place(node)}) is neither log(1 + x) nor a logit")


def _where(reader: Reader, node: onnx.NodeProto) -> Chain:
    unknown, values, known = node.input
    test = reader.view.node(unknown, "IsNaN")
    if test is None or not reader.same(test.input[0], known) or reader.view.constant(values) is None:
        raise NotLayers(f"Where ({_place(node)}) does not replace NaN by a constant")
    filled = _by_column(reader.view.weight(values), node).astype(np.float32)
    return reader.chain(known).then(Impute(filled))


def _clip(reader: Reader, node: onnx.NodeProto) -> Chain:
    bounds = [reader.view.weight(name).item() if name else None for name in node.input[1:]]
    low, high = (*bounds, None, None)[:2]
    low = attribute(node, "min", -math.inf) if low is None else low
    high = attribute(node, "max", math.inf) if high is None else high
    return reader.chain(node.input[0]).then(Clip(float(low), float(high)))


def _bound(reader: Reader, node: onnx.NodeProto) -> Chain:
    """Max or Min of a value and a number."""
    numbers = [name for name in node.input if reader.view.constant(name) is not None]
    if len(node.input) != 2 or len(numbers) != 1 or reader.view.weight(numbers[0]).size != 1:
        raise NotLayers(f"{node.op_type} ({_place(node)}) is not of a value and a number")
    number = reader.view.weight(numbers[0]).item()
    (value,) = (name for name in node.input if name != numbers[0])
    clip = Clip(number, math.inf) if node.op_type == "Max" else Clip(-math.inf, number)
    return reader.chain(value).then(clip)


def _batch_norm(reader: Reader, node: onnx.NodeProto) -> Chain:
    gain, bias, mean, variance = (reader.view.weight(name) for name in node.input[1:5])
    scale = gain / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return reader.chain(node.input[0]).then(_affine(scale, bias - mean * scale))


def _layer_norm(reader: Reader, node: onnx.NodeProto) -> Chain:
    gain = reader.view.weight(node.input[1])
    bias = reader.view.weight(node.input[2]) if len(node.input) > 2 else np.zeros_like(gain)
    if attribute(node, "axis", -1) not in (-1, 1) or gain.ndim != 1:
        raise NotLayers(f"LayerNormalization ({_place(node)}) is not over the columns")
    layer = LayerNorm(gain.astype(np.float32), bias.astype(np.float32), float(attribute(node, "epsilon", 1e-5)))
    return reader.chain(node.input[0]).then(layer)


def _scaler(reader: Reader, node: onnx.NodeProto) -> Chain:
    offset, scale = (np.asarray(attribute(node, name, [0.0])) for name in ("offset", "scale"))
    return reader.chain(node.input[0]).then(_affine(scale, -offset * scale))


def _imputer(reader: Reader, node: onnx.NodeProto) -> Chain:
    if not math.isnan(attribute(node, "replaced_value_float", 0.0)):
        raise NotLayers(f"Imputer ({_place(node)}) replaces something else than NaN")
    values = np.asarray(attribute(node, "imputed_value_floats", []), dtype=np.float32)
    return reader.chain(node.input[0]).then(Impute(values))


def _linear_model(reader: Reader, node: onnx.NodeProto) -> Chain:
    """LinearRegressor, and the scores of a LinearClassifier."""
    after = attribute(node, "post_transform", "NONE")
    functions = {"NONE": (), "LOGISTIC": (Function.SIGMOID,), "SOFTMAX": (Function.SOFTMAX,)}
    intercepts = np.asarray(attribute(node, "intercepts", []), dtype=np.float64)
    if after not in functions or not len(intercepts):
        raise NotLayers(f"{node.op_type} ({_place(node)}) has no intercepts, or is transformed by {after}")
    weight = np.asarray(attribute(node, "coefficients", []), dtype=np.float64).reshape(len(intercepts), -1)
    layers: tuple[Layer, ...] = (_dense(weight, intercepts), *(Activation(name) for name in functions[after]))
    return reader.chain(node.input[0]).then(*layers)


def _concat(reader: Reader, node: onnx.NodeProto) -> Chain:
    if attribute(node, "axis", 1) not in (-1, 1):
        raise NotLayers(f"Concat ({_place(node)}) does not put columns side by side")
    if len(node.input) == 1:
        return reader.chain(node.input[0])
    return Chain(Join(tuple(reader.chain(part) for part in node.input)))


def _pick(reader: Reader, node: onnx.NodeProto) -> Chain:
    """The last state of a recurrent layer, or some of the columns."""
    recurrent = read_recurrent(reader.view, node.output[0])
    if recurrent is not None:
        reader.meet(node)
        layer, source = recurrent
        return reader.chain(source).then(layer)
    indices = reader.view.constant(node.input[1]) if node.op_type == "Gather" else None
    if indices is None or indices.ndim != 1 or attribute(node, "axis", 0) not in (-1, 1):
        raise NotLayers(f"{node.op_type} ({_place(node)}) does not pick columns")
    if min(indices) < 0:
        raise NotLayers(f"Gather ({_place(node)}) counts columns from the end")
    value, columns = _within_a_part(reader.view, node.input[0], tuple(indices.tolist()))
    if reader.view.columns(value) == len(columns) and columns == tuple(range(len(columns))):
        return reader.chain(value)
    return reader.chain(value).then(Select(columns))


def _within_a_part(view: GraphView, value: str, columns: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Where all columns of a join are of one part, these of that part: the others need not be read."""
    joined, before = view.node(value, "Concat"), 0
    for part in joined.input if joined is not None else ():
        width = view.columns(part)
        if width is None:
            break
        if before <= min(columns) and max(columns) < before + width:
            return part, tuple(column - before for column in columns)
        before += width
    return value, columns


READERS: Final[Mapping[str, Callable[[Reader, onnx.NodeProto], Chain]]] = MappingProxyType(
    {
        "Gemm": _gemm,
        "MatMul": _mat_mul,
        **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
        **dict.fromkeys(_ACTIVATIONS, _activation),
        "Softmax": _softmax,
        "Gelu": _gelu,
        "Log": _log,
        "Where": _where,
        "Clip": _clip,
        **dict.fromkeys(("Max", "Min"), _bound),
        "BatchNormalization": _batch_norm,
        "LayerNormalization": _layer_norm,
        "Scaler": _scaler,
        "Imputer": _imputer,
        **dict.fromkeys(("LinearRegressor", "LinearClassifier"), _linear_model),
        "Concat": _concat,
        **dict.fromkeys(("Gather", "Squeeze"), _pick),
    }
)
"""Operator → what reads its nodes."""
