"""The network that is served: encoded features → wide shared trunk of low rank → one small layer per behaviour.

    features (rows, features), NaN where missing
      → piecewise-linear encoding           (rows, bins · features)
      → input layer, tensor (hidden, bin, feature), ReLU
      → trunk layer, matrix (trunk, hidden), ReLU
      → behaviour layers, tensor (behaviour, out, trunk), ReLU
      → one read-out vector per behaviour   (rows, behaviours), link scale

Every tensor starts dense and is replaced by its low-rank form in place (`LowRankLayer`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fusion.lowrank.layer import LowRankLayer
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fusion.encoding import PiecewiseLinearEncoding


class Widths(NamedTuple):
    """Units per layer."""

    hidden: int
    trunk: int
    behaviour: int


class FusedNetwork(nn.Module):
    """See the module's docstring.

    Args:
        encoding: knots and medians, fixed.
        behaviours: how many.
        widths: units per layer.
        seed: of the initial weights.
    """

    medians: Tensor
    lower: Tensor
    slope: Tensor

    def __init__(self, encoding: PiecewiseLinearEncoding, behaviours: int, widths: Widths, seed: int) -> None:
        super().__init__()
        self.encoding = encoding
        self.behaviours = behaviours
        self.register_buffer("medians", torch.from_numpy(encoding.medians))
        self.register_buffer("lower", torch.from_numpy(encoding.lower))
        self.register_buffer("slope", torch.from_numpy(encoding.slope))
        draw = np.random.default_rng(seed)

        def he(*shape: int, fan_in: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            return draw.normal(0.0, (2.0 / fan_in) ** 0.5, shape)

        features = len(encoding.features)
        # Half of the bins are full on average, so an encoded feature counts as about a third of its bins.
        fan_in = max(1, encoding.bins * features // 3)
        self.input = LowRankLayer(he(widths.hidden, encoding.bins, features, fan_in=fan_in), out_modes=1)
        self.trunk = LowRankLayer(he(widths.trunk, widths.hidden, fan_in=widths.hidden), out_modes=1)
        self.layers = LowRankLayer(he(behaviours, widths.behaviour, widths.trunk, fan_in=widths.trunk), out_modes=2)
        self.readout = Weight(he(behaviours, widths.behaviour, fan_in=2 * widths.behaviour))
        self.readout_bias = Weight(np.zeros(behaviours))

    def encode(self, features: Tensor) -> Tensor:
        """(rows, features) with NaN where missing → (rows, bins * features)."""
        known = torch.where(torch.isnan(features), self.medians, features)
        return ((known[:, None, :] - self.lower) * self.slope).clamp_(0.0, 1.0).flatten(1)

    def forward(self, features: Tensor) -> Tensor:
        """(rows, features) with NaN where missing → (rows, behaviours) on the link scale."""
        hidden = torch.relu(self.input(self.encode(features)))
        trunk = torch.relu(self.trunk(hidden))
        own = torch.relu(self.layers(trunk)).reshape(len(trunk), self.behaviours, -1)
        links: Tensor = (own * self.readout()).sum(dim=2) + self.readout_bias()
        return links

    @property
    def parameter_count(self) -> int:
        """Every number the network stores, the knots of the encoding included."""
        return sum(weight.kept for weight in self.weights()) + self.encoding.parameter_count

    def weights(self) -> Iterator[Weight]:
        """Every array that is trained."""
        return (module for module in self.modules() if isinstance(module, Weight))
