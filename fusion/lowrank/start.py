"""Starts the shared network from the teachers' own neurons, in place of random numbers.

Teachers that are networks over features meet in one function space: a first-layer neuron of theirs, w · s(x) + b with
every feature scaled on its own, is a sum of functions of one feature each, which the piecewise-linear encoding holds at
its knots exactly. So the input layer starts with neurons chosen over all teachers (`interpolative`), and the trunk with
second-layer neurons, which read the chosen ones in place of their own. What is left over stays random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion.errors import FusionError
from fusion.lowrank.interpolative import select
from fusion.lowrank.layer import LowRankLayer
from fusion.teachers.network import array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.encoding import PiecewiseLinearEncoding
    from fusion.network import FusedNetwork
    from fusion.teachers.network import Network
    from fusion.teachers.scaled import ScaledInputs


@dataclass(frozen=True, slots=True)
class Neurons:
    """First-layer neurons of several teachers over one encoding.

    Attributes:
        weights: (neurons, bins, features).
        bias: (neurons,).
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def activations(self, encoded: NDArray[np.float32]) -> NDArray[np.float64]:
        """(rows, bins, features) → (rows, neurons)."""
        flat = encoded.reshape(len(encoded), -1).astype(np.float64)
        return np.asarray(np.maximum(flat @ self.weights.reshape(len(self.weights), -1).T + self.bias, 0.0))


def start_from(
    network: FusedNetwork, teachers: Sequence[tuple[Network, ScaledInputs]], features: NDArray[np.float32]
) -> list[str]:
    """Give a fresh network the teachers' neurons to start from.

    Args:
        network: dense, not yet trained; changed in place.
        teachers: networks over features, with one hidden layer at least; features that the encoding lacks are taken at
            their medians.
        features: (rows, features) of training players as the network reads them, NaN where missing.

    Returns:
        What was done, in sentences.

    Raises:
        FusionError: no teacher has a hidden layer over features alone.
    """
    usable = [(net, inputs) for net, inputs in teachers if net.encoder is None and len(net.hidden)]
    if not usable:
        raise FusionError(
            "teachers to start from", got="none with a hidden layer over features", expected="an mlp teacher at least"
        )
    encoding = network.encoding
    first = [_first_neurons(net, inputs, encoding) for net, inputs in usable]
    every = Neurons(np.concatenate([n.weights for n in first]), np.concatenate([n.bias for n in first]))
    active = every.activations(encoding.encode(features))
    chosen = select(active, min(network.input.shape[0], active.shape[1]))
    hidden = chosen.chosen
    _fill(network.input, every.weights[hidden], every.bias[hidden])
    said = [f"input layer: starts from {len(hidden)} of {active.shape[1]} neurons of {len(usable)} teachers"]

    start, second, biases = 0, [], []
    for (net, _), neurons in zip(usable, first, strict=True):
        stop = start + len(neurons.bias)
        if len(net.hidden) > 1:
            # (neurons of the second layer, chosen neurons of the first)
            second.append(array(net.hidden[1].weight).astype(np.float64) @ chosen.mixing[:, start:stop].T)
            biases.append(array(net.hidden[1].bias).astype(np.float64))
        start = stop
    if second:
        weights, bias = np.concatenate(second), np.concatenate(biases)
        deep = np.maximum(active[:, hidden] @ weights.T + bias, 0.0)
        trunk = select(deep, min(network.trunk.shape[0], deep.shape[1])).chosen
        padded = np.zeros((len(trunk), network.trunk.shape[1]))
        padded[:, : len(hidden)] = weights[trunk]
        _fill(network.trunk, padded, bias[trunk])
        said.append(f"trunk: starts from {len(trunk)} of {deep.shape[1]} second-layer neurons")
    return said


def _first_neurons(network: Network, inputs: ScaledInputs, encoding: PiecewiseLinearEncoding) -> Neurons:
    """The first layer of a teacher over the encoding: exact at the knots, straight in between."""
    layer = network.hidden[0]
    weight, bias = array(layer.weight).astype(np.float64), array(layer.bias).astype(np.float64)
    position = {name: column for column, name in enumerate(inputs.names)}
    found = np.zeros((len(weight), encoding.bins, len(encoding.features)))
    at_median = inputs.features.apply(np.full((1, len(inputs.names)), np.nan, dtype=np.float32))[0].astype(np.float64)
    for column, name in enumerate(encoding.features):
        if name in position:
            here = position.pop(name)
            knots = np.full((encoding.bins + 1, len(inputs.names)), np.nan, dtype=np.float32)
            knots[:, here] = encoding.knots[:, column]
            scaled = inputs.features.apply(knots)[:, here].astype(np.float64)
            found[:, :, column] = weight[:, here, None] * np.diff(scaled)
            bias = bias + weight[:, here] * scaled[0]
    for here in position.values():
        bias = bias + weight[:, here] * at_median[here]
    return Neurons(found, bias)


def _fill(layer: LowRankLayer, weights: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
    """Overwrite the first units of a dense layer."""
    ((_, stored),) = layer.weights()
    with torch.no_grad():
        stored.array[: len(weights)] = torch.from_numpy(weights.astype(np.float32))
        layer.bias.array[: len(bias)] = torch.from_numpy(bias.astype(np.float32))
