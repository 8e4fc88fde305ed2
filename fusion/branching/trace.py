"""What goes through a dense network on calibration rows, and what it matters to each behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fusion.branching.columnwise import compute

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.branching.reading import DenseNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One pass of some rows, forth and back.

    Attributes:
        inputs: per level, (rows, inputs) what it reads.
        gradients: per level, (behaviours, rows, units) of every link, in units of its spread, by what the level puts
            out before its function.
        links: (rows, behaviours).
    """

    inputs: tuple[NDArray[np.float64], ...]
    gradients: tuple[NDArray[np.float64], ...]
    links: NDArray[np.float64]

    def lost(self, links: NDArray[np.floating]) -> NDArray[np.float64]:
        """(behaviours,) mean squared departure of other links from these, as a share of the variance of these."""
        return lost(self.links, links)


def lost(before: NDArray[np.floating], now: NDArray[np.floating]) -> NDArray[np.float64]:
    """(behaviours,) mean squared change of links (rows, behaviours), as a share of their variance before."""
    variance = np.maximum(before.astype(np.float64).var(axis=0), _LEAST_SPREAD**2)
    return np.asarray(((before.astype(np.float64) - now) ** 2).mean(axis=0) / variance)


_LEAST_SPREAD = 1e-6
"""Of links that are the same for every row."""


def trace(network: DenseNetwork, features: NDArray[np.float32]) -> Trace:
    """Pass some rows through a network.

    Args:
        network: to look at.
        features: (rows, features) of the teacher, NaN where unknown.
    """
    value = compute(network.before, torch.from_numpy(features[:, network.columns]).double())
    inputs, sums = [], []
    for level in network.levels:
        inputs.append(value.detach().numpy())
        total = value @ torch.from_numpy(level.weight).T + torch.from_numpy(level.bias)
        sums.append(total if total.requires_grad else total.requires_grad_())
        value = compute(level.after, total)
    links = answered(network, value)
    spread = links.detach().std(dim=0, correction=0).clamp(min=_LEAST_SPREAD)
    found = [
        torch.autograd.grad(links[:, column].sum() / spread[column], sums, retain_graph=True)
        for column in range(links.shape[1])
    ]
    gradients = tuple(torch.stack(level).numpy() for level in zip(*found, strict=True))
    return Trace(tuple(inputs), gradients, links.detach().numpy())


def answered(network: DenseNetwork, scores: Tensor) -> Tensor:
    """(rows, behaviours) scores → links."""
    columns = [compute(layers, scores[:, column : column + 1]) for column, layers in enumerate(network.answers)]
    return torch.cat(columns, dim=1)
