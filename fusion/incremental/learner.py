"""The network with everything frozen but what one behaviour owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fusion.distill.student import Rows
from fusion.training import Learner

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fusion.network import FusedNetwork


class OneBehaviour(Learner[Rows]):
    """Learns one column of a network; no other number changes, to the bit.

    Args:
        network: trained in place.
        position: column of the behaviour.
    """

    def __init__(self, network: FusedNetwork, position: int) -> None:
        super().__init__()
        self.network = network
        self._position = position
        own = network.behaviour_slices()
        for weight in network.weights():
            weight.array.requires_grad_(any(weight is mine for mine, _ in own))
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        for weight, axis in own:
            weight.plain()
            mine = torch.zeros_like(weight.array)
            mine.movedim(axis, 0)[position] = 1.0
            # A gradient of exactly 0, and no decay of weights, leave a number as it is, to the bit.
            self._hooks.append(weight.array.register_hook(mine.mul))  # type: ignore[no-untyped-call, unused-ignore]

    def start_as(self, slope: float, intercept: float) -> None:
        """Let the behaviour's links begin as a linear function of what they are."""
        with torch.no_grad():
            self.network.readout.array[self._position] *= slope
            bias = self.network.readout_bias.array
            bias[self._position] = slope * bias[self._position] + intercept

    def release(self) -> None:
        """Thaw the rest."""
        for hook in self._hooks:
            hook.remove()
        for weight in self.network.weights():
            weight.array.requires_grad_(True)

    @property
    def output_bias(self) -> nn.Parameter:
        """Of all behaviours."""
        return self.network.readout_bias.array

    def forward(self, examples: Rows) -> Tensor:
        """(rows, 1) links of the one behaviour."""
        links: Tensor = self.network(examples.features)
        return links[:, self._position : self._position + 1]
