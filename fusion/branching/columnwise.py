"""Layers that treat every column by itself: carried out in torch, and written as nodes of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fusion.teachers.structure import Activation, Affine, Clip, Function, Impute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph
    from fusion.teachers.structure import Layer

Columnwise = Impute | Affine | Clip | Activation
"""An activation is one of every number by itself: `softmax` is none of these."""


def is_columnwise(layer: Layer) -> TypeGuard[Columnwise]:
    """Whether a layer does the same to a column whatever stands beside it."""
    if isinstance(layer, Activation):
        return layer.function is not Function.SOFTMAX
    return isinstance(layer, Impute | Affine | Clip)


def some_columns(layer: Columnwise, columns: NDArray[np.int64]) -> Columnwise:
    """The layer over some of its columns."""
    if isinstance(layer, Affine) and len(layer.scale) > 1:
        return Affine(layer.scale[columns], layer.shift[columns])
    if isinstance(layer, Impute) and len(layer.values) > 1:
        return Impute(layer.values[columns])
    return layer


def compute(layers: Sequence[Columnwise], value: Tensor) -> Tensor:
    """(rows, columns) → (rows, columns), in the precision of `value`."""

    def like(array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(value.dtype)

    for layer in layers:
        match layer:
            case Impute():
                value = torch.where(torch.isnan(value), like(layer.values), value)
            case Affine():
                value = value * like(layer.scale) + like(layer.shift)
            case Clip():
                value = value.clamp(layer.low, layer.high)
            case Activation(Function.LEAKY_RELU):
                value = functional.leaky_relu(value, layer.alpha)
            case Activation(Function.ELU):
                value = functional.elu(value, layer.alpha)
            case Activation():
                value = _FUNCTIONS[layer.function](value)
    return value


def add_to(graph: Graph, layers: Sequence[Columnwise], value: str) -> str:
    """The same as nodes of a graph, in the spelling that `fusion.teachers` reads back."""
    for layer in layers:
        match layer:
            case Impute():
                value = graph.op("Where", graph.op("IsNaN", value), graph.constant(layer.values), value)
            case Affine():
                value = _add_affine(graph, layer, value)
            case Clip():
                bounds = [graph.constant(bound) if math.isfinite(bound) else "" for bound in (layer.low, layer.high)]
                value = graph.op("Clip", value, *bounds) if any(bounds) else value
            case Activation(Function.LEAKY_RELU):
                value = graph.op("LeakyRelu", value, alpha=layer.alpha)
            case Activation(Function.ELU):
                value = graph.op("Elu", value, alpha=layer.alpha)
            case Activation():
                value = _NODES[layer.function](graph, value)
    return value


def _add_affine(graph: Graph, layer: Affine, value: str) -> str:
    """Where it can be, (x - mean) / deviation: so our own families write a scaling, and know it again."""
    if layer.scale.all():
        mean, deviation = -layer.shift / layer.scale, 1.0 / layer.scale
        return graph.op("Div", graph.op("Sub", value, graph.constant(mean)), graph.constant(deviation))
    return graph.op("Add", graph.op("Mul", value, graph.constant(layer.scale)), graph.constant(layer.shift))


_FUNCTIONS: Final[Mapping[Function, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {
        Function.RELU: torch.relu,
        Function.TANH: torch.tanh,
        Function.SIGMOID: torch.sigmoid,
        Function.SOFTPLUS: functional.softplus,
        Function.GELU: functional.gelu,
        Function.SILU: functional.silu,
        Function.SIGNED_LOG1P: lambda x: torch.sign(x) * torch.log1p(torch.abs(x)),
        Function.LOG1P: torch.log1p,
        Function.LOGIT: torch.logit,
    }
)


def _operator(kind: str) -> Callable[[Graph, str], str]:
    return lambda graph, value: graph.op(kind, value)


def _gelu(graph: Graph, value: str) -> str:
    # The operator of this name is younger than our graphs.
    share = graph.op("Erf", graph.op("Div", value, graph.constant(math.sqrt(2.0))))
    twice = graph.op("Mul", value, graph.op("Add", share, graph.constant(1.0)))
    return graph.op("Mul", twice, graph.constant(0.5))


def _log1p(graph: Graph, value: str) -> str:
    return graph.op("Log", graph.op("Add", value, graph.constant(1.0)))


_NODES: Final[Mapping[Function, Callable[[Graph, str], str]]] = MappingProxyType(
    {
        Function.RELU: _operator("Relu"),
        Function.TANH: _operator("Tanh"),
        Function.SIGMOID: _operator("Sigmoid"),
        Function.SOFTPLUS: _operator("Softplus"),
        Function.GELU: _gelu,
        Function.SILU: lambda graph, x: graph.op("Mul", x, graph.op("Sigmoid", x)),
        Function.SIGNED_LOG1P: lambda graph, x: graph.op("Mul", graph.op("Sign", x), _log1p(graph, graph.op("Abs", x))),
        Function.LOG1P: _log1p,
        Function.LOGIT: lambda graph, x: graph.op("Log", graph.op("Div", x, graph.op("Sub", graph.constant(1.0), x))),
    }
)
