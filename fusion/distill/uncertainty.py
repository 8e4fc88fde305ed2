"""Behaviours weighed by their uncertainty [Kendall, Gal, Cipolla 2018, arXiv:1705.07115].

What the student can learn well weighs more than what it cannot; how much more is learnt with it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UncertaintyWeights(nn.Module):
    """One learned log-variance s per behaviour: its loss L becomes exp(-s) L + s / 2.

    The paper has half of the first term for a squared error: a factor that only shifts s, as dividing L by the loss of
    the best constant does. Training starts from s = 0, which is equal weights; it rests where exp(-s) = 1 / (2 L).

    The paper's labels are hard. Of soft ones the cross-entropy contains their own entropy, which no student can learn
    and which is no uncertainty of his, while the squared error of an amount contains nothing of the kind: so L is what
    is left above the least possible loss. Otherwise amounts would outweigh probabilities six to one.

    Args:
        behaviours: how many.
    """

    def __init__(self, behaviours: int) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(behaviours))

    def forward(self, losses: Tensor) -> Tensor:
        """(behaviours,) losses, above the least possible → the same, weighed, to be averaged."""
        return torch.exp(-self.log_variance) * losses + 0.5 * self.log_variance

    def weights(self) -> list[float]:
        """Of each behaviour, as shares of their mean: 1 weighs as much as the average behaviour."""
        found = torch.exp(-self.log_variance.detach().double())
        shares: list[float] = (found / found.mean()).tolist()
        return shares
