"""Behaviours weighed by their uncertainty [Kendall, Gal, Cipolla 2018, arXiv:1705.07115].

What can be predicted well weighs more than what is mostly noise, and how much more is learnt.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UncertaintyWeights(nn.Module):
    """One learned log-variance s per behaviour: its loss L becomes exp(-s) L + s / 2.

    The paper has half of the first term for a squared error: a factor that only shifts s, as dividing L by the loss of
    the best constant does. Training starts from s = 0, which is equal weights; it rests where exp(-s) = 1 / (2 L).

    Args:
        behaviours: how many.
    """

    def __init__(self, behaviours: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(behaviours))

    def forward(self, losses: Tensor) -> Tensor:
        """(behaviours,) → the mean of the weighed losses."""
        return (torch.exp(-self.log_variance) * losses + 0.5 * self.log_variance).mean()

    def weights(self) -> list[float]:
        """Of each behaviour, as shares of their mean: 1 weighs as much as the average behaviour."""
        found = torch.exp(-self.log_variance.detach().double())
        shares: list[float] = (found / found.mean()).tolist()
        return shares
