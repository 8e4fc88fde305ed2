"""The training loop: masking, early stopping, seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusion.errors import FusionError
from fusion.teachers.examples import Examples
from fusion.teachers.teacher import silent
from fusion.training import Learner, MaskedLoss, Schedule, predict, train
from inference.contract.behaviours import DEFAULT_BEHAVIOURS

BEHAVIOURS = (DEFAULT_BEHAVIOURS["churn_7d"], DEFAULT_BEHAVIOURS["sessions_7d"])
SCHEDULE = Schedule(epochs=20, batch_rows=64, learning_rate=0.02, patience_epochs=3)


class Linear(Learner[Examples]):
    def __init__(self, features: int, behaviours: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, behaviours)
        nn.init.zeros_(self.output.weight)

    @property
    def output_bias(self) -> nn.Parameter:
        return self.output.bias

    def forward(self, examples: Examples) -> Tensor:
        links: Tensor = self.output(examples.features)
        return links


def _examples(rows: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, 3, generator=generator)
    binary = (features[:, 0] + torch.randn(rows, generator=generator) > 0).float()
    amount = torch.relu(1.5 + features[:, 1] + 0.3 * torch.randn(rows, generator=generator))
    place = torch.zeros(rows, dtype=torch.long)
    return Examples(features, torch.stack((binary, amount), dim=1), None, torch.arange(rows), place)


def _trained(training: Examples, validation: Examples, schedule: Schedule = SCHEDULE) -> Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = Linear(3, 2)
        train(network, BEHAVIOURS, training, validation, schedule, silent)
    return network


def test_a_linear_truth_is_found() -> None:
    network = _trained(_examples(4000, 0), _examples(500, 1))
    weight = network.output.weight.detach().numpy()
    # A normal disturbance of 1 is nearly a logistic one of scale 1 / 1.7.
    np.testing.assert_allclose(weight[0], [1.7, 0, 0], atol=0.25)
    np.testing.assert_allclose(weight[1], [0, 1, 0], atol=0.1)


def test_the_same_seed_gives_the_same_bits_and_leaves_torch_alone() -> None:
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    first, second = (_trained(_examples(500, 0), _examples(100, 1)) for _ in range(2))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
    assert torch.equal(state, torch.random.get_rng_state())


def test_masked_targets_do_not_matter() -> None:
    known = _examples(500, 0)
    known.targets[::3, 0] = math.nan
    known.targets[1::3, 1] = math.nan
    loss = MaskedLoss(BEHAVIOURS, known.targets)
    links = torch.randn(500, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    value = loss(links, known.targets)
    (gradient,) = torch.autograd.grad(value, links)
    assert torch.isfinite(value)
    assert not gradient[::3, 0].any()
    assert not gradient[1::3, 1].any()
    assert gradient[1::3, 0].all()


def test_the_loss_of_the_best_constant_is_one() -> None:
    targets = _examples(500, 0).targets
    targets[::5, 1] = math.nan
    loss = MaskedLoss(BEHAVIOURS, targets)
    each = loss.per_behaviour(loss.best_constant.expand_as(targets), targets)
    torch.testing.assert_close(each, torch.ones(2))
    worse = loss.per_behaviour((loss.best_constant + 0.1).expand_as(targets), targets)
    assert bool((worse > 1).all())


def test_nobody_is_below_who_answers_the_targets_exactly() -> None:
    targets = _examples(500, 0).targets
    targets[:, 0] = torch.where(targets[:, 0] > 0, 0.8, 0.3)
    targets[::5] = math.nan
    loss = MaskedLoss(BEHAVIOURS, targets)
    least = loss.least(targets)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        assert bool((loss.per_behaviour(torch.randn(500, 2, generator=generator), targets) > least).all())
    known = targets[~targets[:, 0].isnan(), 0].double().numpy()
    entropy = -(known * np.log(known) + (1 - known) * np.log(1 - known)).mean()
    constant = -(known.mean() * np.log(known.mean()) + (1 - known.mean()) * np.log(1 - known.mean()))
    np.testing.assert_allclose(least, [entropy / constant, 0.0], rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
def test_labels_that_are_all_the_same_are_refused(value: float) -> None:
    targets = _examples(100, 0).targets
    targets[:, 0] = value
    with pytest.raises(FusionError, match="labels of churn_7d"):
        MaskedLoss(BEHAVIOURS, targets)


def test_early_stopping_restores_the_best_weights() -> None:
    training, validation = _examples(500, 0), _examples(200, 1)
    # On validation players the truth is the reverse: every step away from the start is a step for the worse.
    reverse = Examples(-validation.features, validation.targets, None, validation.window, validation.place)
    told: list[float] = []
    network = Linear(3, 2)
    losses = MaskedLoss(BEHAVIOURS, training.targets)
    reached = train(network, BEHAVIOURS, training, reverse, SCHEDULE, lambda done, note: told.append(done))
    assert len(told) == 1 + SCHEDULE.patience_epochs
    after = float(losses(torch.from_numpy(predict(network, reverse)), reverse.targets))
    assert after == pytest.approx(reached, abs=1e-6)
    longer = Linear(3, 2)
    patient = SCHEDULE.model_copy(update={"patience_epochs": 100})
    assert train(longer, BEHAVIOURS, training, reverse, patient, silent) == pytest.approx(reached, abs=0.05)


def test_a_loss_that_is_not_finite_is_told() -> None:
    training = _examples(200, 0)
    training.features[0, 0] = math.inf
    with pytest.raises(FusionError, match="validation loss"):
        train(Linear(3, 2), BEHAVIOURS, training, training, SCHEDULE, silent)


def test_going_on_starts_from_where_the_network_is() -> None:
    training = _examples(500, 0)
    network = _trained(training, _examples(100, 1))
    before = network.output_bias.detach().clone()
    standing_still = SCHEDULE.model_copy(update={"epochs": 1, "learning_rate": 1e-9})
    train(network, BEHAVIOURS, training, training, standing_still, silent, fresh=False)
    torch.testing.assert_close(network.output_bias.detach(), before, atol=1e-5, rtol=0)
    train(network, BEHAVIOURS, training, training, standing_still, silent)
    best_constant = MaskedLoss(BEHAVIOURS, training.targets).best_constant
    torch.testing.assert_close(network.output_bias.detach(), best_constant, atol=1e-5, rtol=0)
    assert not torch.allclose(before, best_constant, atol=1e-2)


@pytest.mark.parametrize(("rows", "batch"), [(100, 64), (40_000, 312), (1_000_000, 2048)])
def test_few_rows_get_as_many_steps_as_many_rows(rows: int, batch: int) -> None:
    assert Schedule(epochs=1).batch(rows) == batch
    assert Schedule(epochs=1, batch_rows=7).batch(rows) == 7
