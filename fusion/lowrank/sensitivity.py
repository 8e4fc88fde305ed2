"""Measures the metric of every layer on calibration rows: what its inputs look like, and what its outputs matter.

The cost of an error is judged on the link scale, each behaviour in units of its own spread, so that no behaviour's
scale drowns another's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion.lowrank.metric import Metric, kronecker_moments
from fusion.network import LAYERS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from fusion.network import FusedNetwork


def layer_metrics(network: FusedNetwork, features: NDArray[np.float32]) -> dict[str, Metric]:
    """The two-sided metric of the input, trunk and behaviour layers.

    Args:
        network: trained, in any form.
        features: (rows, features) of training players, NaN where missing; a few thousand rows are enough.

    Returns:
        Layer name → metric of its tensor: modes (hidden, bin, feature), (trunk, hidden), (behaviour, out, trunk).
    """
    layers = {name: network.layer(name) for name in LAYERS}
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def record(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (inputs[0].detach(), output)

        return layers[name].register_forward_hook(hook)

    hooks = [record(name) for name in layers]
    try:
        links = network(torch.from_numpy(features))
    finally:
        for hook in hooks:
            hook.remove()
    inputs = {name: _second_moment(value) for name, (value, _) in seen.items()}
    outputs = [output for _, output in seen.values()]
    spread = links.detach().std(dim=0).clamp(min=1e-6)
    gradients = {name: np.zeros((output.shape[1],) * 2) for name, (_, output) in seen.items()}
    for column in range(links.shape[1]):
        found = torch.autograd.grad(links[:, column].sum() / spread[column], outputs, retain_graph=True)
        for name, gradient in zip(seen, found, strict=True):
            gradients[name] += _second_moment(gradient)

    bins_by_features = (network.encoding.bins, len(network.encoding.features))
    behaviours, units = network.readout.array.shape
    # Every behaviour has its own block of outputs; all blocks share one factor, hence one pooled metric.
    blocks = gradients["layers"].reshape(behaviours, units, behaviours, units)
    return {
        "input": Metric.from_second_moments(gradients["input"], *kronecker_moments(inputs["input"], bins_by_features)),
        "trunk": Metric.from_second_moments(gradients["trunk"], inputs["trunk"]),
        "layers": Metric.from_second_moments(None, np.einsum("iaib->ab", blocks), inputs["layers"]),
    }


def _second_moment(values: Tensor) -> NDArray[np.float64]:
    array = values.detach().double()
    return np.asarray((array.T @ array / len(array)).numpy())
