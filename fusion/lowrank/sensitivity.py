"""Measures on calibration rows what a layer's inputs look like, and what its outputs matter to the predictions.

The cost of an error is judged on the link scale, each behaviour in units of its own spread, so that no behaviour's
scale drowns another's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion.lowrank.metric import Metric, kronecker_moments
from fusion.network import LAYERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from fusion.lowrank.layer import LowRankLayer
    from fusion.network import FusedNetwork


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the cost of an error in a layer's weight matrix follows from (K-FAC: Martens & Grosse 2015).

    Attributes:
        inputs: (in, in) second moment of the layer's input.
        mean: (in,) of the layer's input.
        gradients: (out, out) second moment of the gradients of all predictions at the layer's output, per row of
            data; a layer that is called several times for a row counts every call.
    """

    inputs: NDArray[np.float64]
    mean: NDArray[np.float64]
    gradients: NDArray[np.float64]

    def cost(self, error: NDArray[np.float64]) -> float:
        """Mean squared change of the predictions, to first order, by an error (output modes..., input modes...)."""
        matrix = error.reshape(len(self.gradients), len(self.inputs))
        return float(np.vdot(self.gradients @ matrix, matrix @ self.inputs))

    def metric(self, shape: tuple[int, ...], out_modes: int, *, whole: bool = False) -> Metric:
        """The metric of a weight tensor: one second moment per mode, by partial traces where a side has two modes.

        Args:
            shape: (output modes..., input modes...), at most two modes on either side.
            out_modes: how many are output modes.
            whole: leave the first mode out, because every entry of it is a layer of its own.
        """
        outputs = _by_mode(self.gradients, shape[:out_modes])
        return Metric.from_second_moments(
            *((None, *outputs[1:]) if whole else outputs), *_by_mode(self.inputs, shape[out_modes:])
        )


def measure(layers: Mapping[str, LowRankLayer], predict: Callable[[], Tensor]) -> dict[str, Statistics]:
    """Statistics of some layers of a network.

    Args:
        layers: by name; each may be called several times.
        predict: runs the network on the calibration rows: (rows, behaviours) links.
    """
    seen: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)

    def record(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name].append((inputs[0].detach(), output))

        return layers[name].register_forward_hook(hook)

    hooks = [record(name) for name in layers]
    try:
        links = predict()
    finally:
        for hook in hooks:
            hook.remove()
    calls = [(name, output) for name, found in seen.items() for _, output in found]
    spread = links.detach().std(dim=0).clamp(min=1e-6)
    gradients = {name: np.zeros((found[0][1].shape[-1],) * 2) for name, found in seen.items()}
    reached = [torch.zeros(output.shape[:-1], dtype=torch.bool) for _, output in calls]
    for column in range(links.shape[1]):
        target = links[:, column].sum() / spread[column]
        found = torch.autograd.grad(target, [output for _, output in calls], retain_graph=True)
        for index, ((name, _), gradient) in enumerate(zip(calls, found, strict=True)):
            gradients[name] += _gram(gradient) / len(links)
            reached[index] |= gradient.any(dim=-1)
    inputs = defaultdict(list)
    values = [value for found in seen.values() for value, _ in found]
    for (name, _), value, counts in zip(calls, values, reached, strict=True):
        # Padding reaches no prediction: what a layer reads there does not matter.
        inputs[name].append(value[counts] if counts.any() else value.flatten(0, -2))
    read = {name: torch.cat(found) for name, found in inputs.items()}
    return {
        name: Statistics(_gram(value) / len(value), value.double().mean(dim=0).numpy(), gradients[name])
        for name, value in read.items()
    }


def layer_statistics(network: FusedNetwork, features: NDArray[np.float32]) -> dict[str, Statistics]:
    """Statistics of the input, trunk and behaviour layers.

    Args:
        network: trained, in any form.
        features: (rows, features) of training players, NaN where missing; a few thousand rows are enough.
    """
    return measure({name: network.layer(name) for name in LAYERS}, lambda: network(torch.from_numpy(features)))


def layer_inputs(network: FusedNetwork, name: str, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(rows, in) what a layer gets to read, of (rows, features)."""
    seen: list[Tensor] = []
    hook = network.layer(name).register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            network(torch.from_numpy(features))
    finally:
        hook.remove()
    return np.asarray(seen[0].double().numpy())


def layer_metrics(network: FusedNetwork, features: NDArray[np.float32]) -> dict[str, Metric]:
    """The two-sided metric of every layer's tensor: (hidden, bin, feature), (trunk, hidden), (behaviour, out, trunk).

    Every behaviour has a block of outputs of its own; all blocks share their factors, hence one pooled metric.
    """
    return {
        name: found.metric(network.layer(name).shape, network.layer(name).out_modes, whole=name == "layers")
        for name, found in layer_statistics(network, features).items()
    }


def _by_mode(moment: NDArray[np.float64], sizes: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    return (moment,) if len(sizes) == 1 else kronecker_moments(moment, (sizes[0], sizes[1]))


def _gram(values: Tensor) -> NDArray[np.float64]:
    array = values.detach().double().flatten(0, -2)
    return np.asarray((array.T @ array).numpy())
