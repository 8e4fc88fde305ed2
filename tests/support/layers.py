"""Computes chains of layers in NumPy, in double precision, from what `fusion.teachers.structure` says they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fusion.teachers.structure import (
    Activation,
    Affine,
    BlackBox,
    Cell,
    Chain,
    Clip,
    Dense,
    Function,
    Impute,
    Layer,
    LayerNorm,
    Recurrent,
    Select,
)
from fusion.teachers.structure_reader import read_structure

Values = NDArray[np.float64]


def compute(chain: Chain, inputs: dict[str, NDArray[Any]]) -> Values:
    if isinstance(chain.source, str):
        value = inputs[chain.source].astype(np.float64)
    else:
        value = np.concatenate([compute(part, inputs) for part in chain.source.parts], axis=1)
    for layer in chain.layers:
        value = _apply(layer, value)
    return value


def _apply(layer: Layer, x: Values) -> Values:
    match layer:
        case Dense():
            return np.asarray(x @ layer.weight.T.astype(np.float64) + layer.bias)
        case Affine():
            return x * layer.scale + layer.shift
        case Impute():
            return np.where(np.isnan(x), layer.values, x)
        case Clip():
            return np.clip(x, layer.low, layer.high)
        case Select():
            return x[:, list(layer.columns)]
        case LayerNorm():
            centred = x - x.mean(axis=-1, keepdims=True)
            spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.epsilon)
            return np.asarray(centred / spread * layer.gain + layer.bias)
        case Activation():
            return _function(layer.function, layer.alpha, x)
        case Recurrent():
            return np.stack([_last_state(layer, row) for row in x])


def _sigmoid(x: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-x)))


def _erf(x: Values) -> Values:
    return np.array([math.erf(value) for value in x.flat]).reshape(x.shape)


def _function(function: Function, alpha: float, x: Values) -> Values:
    below = np.minimum(x, 0)
    values: dict[Function, Callable[[], Values]] = {
        Function.RELU: lambda: np.maximum(x, 0),
        Function.LEAKY_RELU: lambda: np.maximum(x, 0) + alpha * below,
        Function.ELU: lambda: np.maximum(x, 0) + alpha * np.expm1(below),
        Function.TANH: lambda: np.tanh(x),
        Function.SIGMOID: lambda: _sigmoid(x),
        Function.SOFTPLUS: lambda: np.logaddexp(0, x),
        Function.GELU: lambda: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
        Function.SILU: lambda: x * _sigmoid(x),
        Function.SOFTMAX: lambda: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True),
        Function.SIGNED_LOG1P: lambda: np.sign(x) * np.log1p(np.abs(x)),
        Function.LOG1P: lambda: np.log1p(x),
        Function.LOGIT: lambda: np.log(x) - np.log1p(-x),
    }
    return np.asarray(values[function]())


def _last_state(layer: Recurrent, steps: Values) -> Values:
    width = layer.state_weight.shape[1]
    if layer.skips_padding:
        present = max(int((steps[:, 0] > 0).sum()), 1)
        steps = steps[len(steps) - present :]
    state, memory = np.zeros(width), np.zeros(width)
    for step in steps[::-1] if layer.newest_first else steps:
        into = np.split(layer.input_weight @ step + layer.input_bias, 3 if layer.cell is Cell.GRU else 4)
        if layer.cell is Cell.GRU:
            state = _gru(layer, into, state)
            continue
        within = np.split(layer.state_weight @ state + layer.state_bias, 4)
        entry, exit_, forget, new = (a + b for a, b in zip(into, within, strict=True))
        memory = _sigmoid(forget) * memory + _sigmoid(entry) * np.tanh(new)
        state = _sigmoid(exit_) * np.tanh(memory)
    return state


def _gru(layer: Recurrent, into: list[Values], state: Values) -> Values:
    weights, biases = np.split(layer.state_weight, 3), np.split(layer.state_bias, 3)
    update, reset = (_sigmoid(into[gate] + weights[gate] @ state + biases[gate]) for gate in (0, 1))
    if layer.reset_after:
        new = np.tanh(into[2] + reset * (weights[2] @ state + biases[2]))
    else:
        new = np.tanh(into[2] + weights[2] @ (reset * state) + biases[2])
    return np.asarray(update * state + (1 - update) * new)


def checked(
    model: bytes, inputs: dict[str, NDArray[Any]], output: str = "links", *, probabilities: bool = False
) -> Chain:
    """The layers of a graph, found to compute what the graph computes.

    In single precision, the last bit of a probability near 1 is much of its logit: such are compared as probabilities.
    """
    chain = read_structure(model, output)
    assert isinstance(chain, Chain), chain
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got, expected = compute(chain, inputs), np.asarray(session.run([output], inputs)[0])
    if probabilities:
        got, expected = np.tanh(got / 2), np.tanh(expected / 2)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    return chain


def kinds(chain: Chain) -> list[str]:
    return [layer.function.value if isinstance(layer, Activation) else type(layer).__name__ for layer in chain.layers]


def reason(model: bytes, output: str = "links") -> str:
    found = read_structure(model, output)
    assert isinstance(found, BlackBox)
    return found.reason
