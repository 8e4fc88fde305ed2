"""The fused network as a learner: rows of features in, the teachers' answers as targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from fusion.distill.temperature import heat
from fusion.training import Learner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from fusion.distill.hints import HintRegression
    from fusion.distill.uncertainty import UncertaintyWeights
    from fusion.network import FusedNetwork
    from fusion.training import MaskedLoss


@dataclass(frozen=True, slots=True)
class Rows:
    """What the student learns from.

    Attributes:
        features: (rows, features), NaN where missing.
        targets: (rows, behaviours), see `fusion.distill.targets`.
        taught: (rows, behaviours) links, the teachers' part of the targets; None where they have no other part.
        label_weight: (rows, behaviours), the labels' weight in the targets; None where `taught` is.
        hidden: (rows, units) of a teacher's hidden layer; None without hints.
    """

    features: Tensor
    targets: Tensor
    taught: Tensor | None = None
    label_weight: Tensor | None = None
    hidden: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, index: Tensor | slice) -> Self:
        """Some of the rows."""
        rest = (self.taught, self.label_weight, self.hidden)
        return type(self)(
            self.features[index], self.targets[index], *(None if values is None else values[index] for values in rest)
        )

    def batches(self, rows: int, *, shuffle: bool) -> Iterator[Self]:
        """Parts of so many rows; the last one may be smaller."""
        order = torch.randperm(len(self)) if shuffle else torch.arange(len(self))
        for part in torch.split(order, rows):
            yield self.take(part)


class Student(Learner[Rows]):
    """The network under training.

    Args:
        network: trained in place.
        temperature: at which the teachers' probabilities are learnt.
        uncertainty: weighs the behaviours; by default all weigh the same.
        regression: towards a teacher's hidden layer, where the rows have one.
    """

    def __init__(
        self,
        network: FusedNetwork,
        *,
        temperature: float = 1.0,
        uncertainty: UncertaintyWeights | None = None,
        regression: HintRegression | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.uncertainty = uncertainty
        self.regression = regression

    @property
    def output_bias(self) -> nn.Parameter:
        """(behaviours,) the links of a player about whom nothing is known."""
        return self.network.readout_bias.array

    def forward(self, examples: Rows) -> Tensor:
        """(rows, behaviours) links."""
        links: Tensor = self.network(examples.features)
        return links

    def loss(self, examples: Rows, masked: MaskedLoss, epoch: int) -> Tensor:
        """See `Learner`; with temperature, learned weights and hints, where there are any."""
        trunk = self.network.shared(examples.features)
        links = self.network.read_out(trunk)
        losses = masked.per_behaviour(links, examples.targets, self._heat(links, examples))
        if self.uncertainty is not None:
            losses = self.uncertainty(losses - masked.least(examples.targets))
        value = losses.mean()
        if self.regression is not None and examples.hidden is not None and epoch < self.regression.epochs:
            value = value + self.regression(trunk, examples.hidden)
        return value

    def _heat(self, links: Tensor, examples: Rows) -> Tensor | None:
        """What the temperature adds to the cross-entropies: to the teachers' part of them, not to the labels'."""
        if self.temperature == 1.0:
            return None
        if examples.taught is None or examples.label_weight is None:
            return heat(links, torch.logit(examples.targets, eps=1e-6), self.temperature)
        return (1.0 - examples.label_weight) * heat(links, examples.taught, self.temperature)
