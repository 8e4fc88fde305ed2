"""The training loop of every torch network: several behaviours at once, unknown targets masked, best weights kept."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from copy import deepcopy
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from fusion.errors import FusionError
from fusion.optimiser import AdamW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from inference.contract.behaviours import Behaviour

_STEPS_PER_EPOCH = 128
_LEAST_BATCH_ROWS = 64
_MOST_BATCH_ROWS = 2048
_WARM_UP_SHARE = 0.05
_MAX_GRADIENT_NORM = 1.0
_PREDICT_ROWS = 8192
_LEAST_PROBABILITY = 1e-6


class Schedule(BaseModel):
    """How long and how fast to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(ge=1, description="at most; the learning rate falls to 0 over them (cosine)")
    patience_epochs: int = Field(default=4, ge=1, description="stop after so many without a better validation loss")
    batch_rows: int | None = Field(
        default=None, ge=1, description="by default, such that an epoch has about 128 steps of 64 to 2,048 rows"
    )
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)

    def batch(self, rows: int) -> int:
        """Rows of a batch where there are so many in all. Few players need as many steps as many players do."""
        if self.batch_rows is not None:
            return self.batch_rows
        return min(max(rows // _STEPS_PER_EPOCH, _LEAST_BATCH_ROWS), _MOST_BATCH_ROWS)


class Examples(Protocol):
    """Inputs, whatever they are, and what should come out."""

    @property
    def targets(self) -> Tensor:
        """(rows, behaviours): a probability or log1p of an amount; NaN where unknown."""
        ...

    def __len__(self) -> int:
        """Rows."""
        ...

    def batches(self, rows: int, *, shuffle: bool) -> Iterator[Self]:
        """Parts of about so many rows, all of them together; shuffled by torch's generator."""
        ...


ExamplesT = TypeVar("ExamplesT", bound=Examples)


class Learner(nn.Module, ABC, Generic[ExamplesT]):
    """A network that `train` can fit."""

    @property
    @abstractmethod
    def output_bias(self) -> nn.Parameter:
        """(behaviours,) bias of its last layer, which starts from the best constants."""

    @abstractmethod
    def forward(self, examples: ExamplesT) -> Tensor:
        """(rows, behaviours) links; targets are not looked at."""

    def loss(self, examples: ExamplesT, masked: MaskedLoss, epoch: int) -> Tensor:
        """What training makes small, in a given epoch from 0; its parameters are trained along. By default `masked`."""
        return masked(self(examples), examples.targets)


class MaskedLoss:
    """Sum over behaviours of cross-entropy (binary) or squared error (amounts), each divided by the loss of the best
    constant, so that every behaviour weighs the same and 1 means nothing learnt. NaN targets do not count.

    Args:
        behaviours: what the columns are.
        targets: (rows, behaviours) of the training rows.

    Raises:
        FusionError: a behaviour has no known target, or all of its targets are the same.
    """

    def __init__(self, behaviours: tuple[Behaviour, ...], targets: Tensor) -> None:
        self._binary = torch.tensor([behaviour.is_binary for behaviour in behaviours])
        mean = targets.nanmean(dim=0)
        spread = ((targets - mean) ** 2).nanmean(dim=0)
        for behaviour, value in zip(behaviours, spread.tolist(), strict=True):
            if not value > 0:
                raise FusionError(
                    where=f"labels of {behaviour.name}",
                    got="no two different ones among the training rows",
                    expected="both classes of a probability, several values of an amount",
                    fix="Give a longer log or more players, or leave this behaviour out.",
                )
        self.best_constant = torch.where(self._binary, torch.logit(mean), mean)
        """(behaviours,) the links that a network should start from."""
        self._scale = torch.ones_like(spread)
        self._scale = self.per_behaviour(self.best_constant.expand_as(targets), targets)

    def per_behaviour(self, links: Tensor, targets: Tensor, added: Tensor | None = None) -> Tensor:
        """(behaviours,) mean loss over the known rows; 0 where a behaviour has none here.

        Args:
            links: (rows, behaviours).
            targets: (rows, behaviours), NaN where unknown.
            added: (rows, behaviours) to the cross-entropies, if anything.
        """
        known = ~targets.isnan()
        wanted = torch.where(known, targets, 0.0)
        entropy = functional.binary_cross_entropy_with_logits(links, wanted.clamp(0, 1), reduction="none")
        if added is not None:
            entropy = entropy + added
        loss = torch.where(self._binary, entropy, (links - wanted) ** 2)
        total = torch.where(known, loss, 0.0).sum(dim=0)
        return total / known.sum(dim=0).clamp(min=1) / self._scale

    def least(self, targets: Tensor) -> Tensor:
        """(behaviours,) of whoever answers the targets exactly: the entropy of probabilities, 0 for amounts."""
        return self.per_behaviour(torch.where(self._binary, targets.logit(_LEAST_PROBABILITY), targets), targets)

    def __call__(self, links: Tensor, targets: Tensor) -> Tensor:
        """The mean of `per_behaviour`."""
        return self.per_behaviour(links, targets).mean()


def train(
    network: Learner[ExamplesT],
    behaviours: tuple[Behaviour, ...],
    training: ExamplesT,
    validation: ExamplesT,
    schedule: Schedule,
    progress: Callable[[float, str], None],
    *,
    fresh: bool = True,
) -> float:
    """Fit a network in place and leave it with the weights that did best on the validation players.

    Random numbers come from torch's generator: the caller seeds it.

    Args:
        network: from examples to links.
        behaviours: columns of the targets.
        training: rows to learn from.
        validation: rows of other players, which say when to stop.
        schedule: how long and how fast.
        progress: told after every epoch how far it has come (0 to 1), and a word about it.
        fresh: start the output from the best constants; otherwise go on from where the network is.

    Returns:
        The best validation loss; 1 is that of the best constant. It is always the masked one, whatever the network's
        own `loss` adds to it: what is served has to be right.

    Raises:
        FusionError: a behaviour cannot be learnt (see `MaskedLoss`), or the loss is not finite.
    """
    loss = MaskedLoss(behaviours, training.targets)
    if fresh:
        with torch.no_grad():
            network.output_bias.copy_(loss.best_constant)
    batch_rows = schedule.batch(len(training))
    steps = schedule.epochs * math.ceil(len(training) / batch_rows)
    optimiser = AdamW(network.parameters(), schedule.weight_decay)
    best, best_weights, best_epoch = math.inf, deepcopy(network.state_dict()), -1
    step = 0
    for epoch in range(schedule.epochs):
        network.train()
        for batch in training.batches(batch_rows, shuffle=True):
            optimiser.zero_grad()
            value = network.loss(batch, loss, epoch)
            value.backward()  # type: ignore[no-untyped-call, unused-ignore]
            nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT_NORM)
            optimiser.step(schedule.learning_rate * _rate(step / steps))
            step += 1
        reached = float(loss(torch.from_numpy(predict(network, validation)), validation.targets))
        if reached < best:
            best, best_weights, best_epoch = reached, deepcopy(network.state_dict()), epoch
        progress((epoch + 1) / schedule.epochs, f"validation loss {reached:.4f}, best {best:.4f}")
        if epoch - best_epoch >= schedule.patience_epochs:
            break
    if not math.isfinite(best):
        raise FusionError(
            where="validation loss",
            got=str(reached),
            expected="a finite number",
            fix="Lower the learning rate.",
        )
    network.load_state_dict(best_weights)
    return best


def predict(network: Learner[ExamplesT], examples: ExamplesT) -> NDArray[np.float32]:
    """(rows, behaviours) links of scaled inputs, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        parts = [network(part) for part in examples.batches(_PREDICT_ROWS, shuffle=False)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def _rate(done: float) -> float:
    """Share of the learning rate: a short linear start, then a cosine down to 0."""
    if done < _WARM_UP_SHARE:
        return (done + 1e-3) / (_WARM_UP_SHARE + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (done - _WARM_UP_SHARE) / (1.0 - _WARM_UP_SHARE)))
