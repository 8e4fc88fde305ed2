"""The fused network as a learner: rows of features in, the teachers' answers as targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from fusion.training import Learner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from fusion.network import FusedNetwork


@dataclass(frozen=True, slots=True)
class Rows:
    """What the student learns from.

    Attributes:
        features: (rows, features), NaN where missing.
        targets: (rows, behaviours), see `fusion.distill.targets`.
    """

    features: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def batches(self, rows: int, *, shuffle: bool) -> Iterator[Self]:
        """Parts of so many rows; the last one may be smaller."""
        order = torch.randperm(len(self)) if shuffle else torch.arange(len(self))
        for part in torch.split(order, rows):
            yield type(self)(self.features[part], self.targets[part])


class Student(Learner[Rows]):
    """The network under training.

    Args:
        network: trained in place.
    """

    def __init__(self, network: FusedNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def output_bias(self) -> nn.Parameter:
        """(behaviours,) the links of a player about whom nothing is known."""
        return self.network.readout_bias.array

    def forward(self, examples: Rows) -> Tensor:
        """(rows, behaviours) links."""
        links: Tensor = self.network(examples.features)
        return links
