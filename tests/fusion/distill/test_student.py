"""What the student makes small: temperature, labels, learned weights and hints, put together by hand in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion.distill.hints import HintRegression, Hints
from fusion.distill.student import Rows, Student
from fusion.distill.uncertainty import UncertaintyWeights
from fusion.steps.step import Work
from fusion.training import MaskedLoss
from tests.support.works import small_work

SHARE = 0.3


def sigmoid(links: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-links)))


@pytest.fixture
def work() -> Work:
    """Two probabilities and an amount; every third label is not known."""
    found = small_work(rows=400)
    rng = np.random.default_rng(5)
    taught = rng.normal(0, 2, (400, 3)).astype(np.float32)
    labels = np.where(np.arange(3) < 2, rng.integers(0, 2, (400, 3)), rng.gamma(1, 1, (400, 3))).astype(np.float32)
    weight = np.full((400, 3), SHARE, dtype=np.float32)
    weight[::3] = 0.0
    answers = np.where(np.arange(3) < 2, sigmoid(taught.astype(np.float64)), taught)
    targets = ((1 - weight) * answers + weight * labels).astype(np.float32)
    hidden = rng.normal(0, 1, (400, 5)).astype(np.float32)
    found.training = Rows(found.training.features, *map(torch.from_numpy, (targets, taught, weight, hidden)))
    return found


def by_bias(student: Student, rows: Rows, masked: MaskedLoss, epoch: int = 0) -> NDArray[np.float64]:
    """(behaviours,) gradient of the loss by the read-out's bias: the mean over rows of that by the links."""
    (found,) = torch.autograd.grad(student.loss(rows, masked, epoch), student.output_bias)
    return np.asarray(found.double().numpy())


def scales(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """(behaviours,) loss of the best constant."""
    mean = targets.mean(axis=0)
    entropy = -(mean[:2] * np.log(mean[:2]) + (1 - mean[:2]) * np.log1p(-mean[:2]))
    return np.append(entropy, targets[:, 2].var())


@pytest.mark.parametrize("temperature", [1.0, 2.0, 6.0])
def test_teachers_are_learnt_at_the_temperature_and_labels_as_they_are(work: Work, temperature: float) -> None:
    rows, masked = work.training, MaskedLoss(work.behaviours, work.training.targets)
    found = by_bias(Student(work.network, temperature=temperature), rows, masked)
    assert rows.taught is not None
    assert rows.label_weight is not None
    taught, weight, targets = (array.double().numpy() for array in (rows.taught, rows.label_weight, rows.targets))
    links = work.network(rows.features).detach().double().numpy()
    of_labels = targets - (1 - weight) * np.where(np.arange(3) < 2, sigmoid(taught), taught)
    soft = (1 - weight) * temperature * (sigmoid(links / temperature) - sigmoid(taught / temperature))
    hard = weight * sigmoid(links) - of_labels
    gradients = np.where(np.arange(3) < 2, soft + hard, 2 * (links - targets))
    np.testing.assert_allclose(found, gradients.mean(axis=0) / scales(targets) / 3, rtol=1e-4, atol=1e-6)


def test_at_temperature_one_every_bit_is_that_of_the_masked_loss(work: Work) -> None:
    rows, masked = work.training, MaskedLoss(work.behaviours, work.training.targets)
    student = Student(work.network)
    assert torch.equal(student.loss(rows, masked, 0), masked(student(rows), rows.targets))


def test_rows_without_labels_are_all_the_teachers(work: Work) -> None:
    rows, masked = work.training, MaskedLoss(work.behaviours, work.training.targets)
    assert rows.taught is not None
    assert rows.label_weight is not None
    alone = replace(rows, targets=torch.where(torch.arange(3) < 2, torch.sigmoid(rows.taught), rows.taught))
    student = Student(work.network, temperature=3.0)
    plain = student.loss(replace(alone, taught=None, label_weight=None), masked, 0)
    told = student.loss(replace(alone, label_weight=torch.zeros_like(rows.label_weight)), masked, 0)
    torch.testing.assert_close(plain, told)


def test_learned_weights_and_hints_are_put_together(work: Work) -> None:
    rows, masked = work.training, MaskedLoss(work.behaviours, work.training.targets)
    assert rows.hidden is not None
    uncertainty = UncertaintyWeights(3)
    regression = HintRegression(16, 5, Hints(epochs=2, weight=0.5))
    s = np.array([-0.5, 0.0, 0.7])
    with torch.no_grad():
        uncertainty.log_variance.copy_(torch.from_numpy(s))
    student = Student(work.network, uncertainty=uncertainty, regression=regression)
    losses = masked.per_behaviour(student(rows), rows.targets).detach().double().numpy()
    targets = rows.targets.double().numpy()
    wanted = targets[:, :2]
    entropy = np.append(-(wanted * np.log(wanted) + (1 - wanted) * np.log1p(-wanted)).mean(axis=0), 0.0)
    losses -= entropy / scales(targets)
    weighed = float(np.mean(np.exp(-s) * losses + s / 2))
    trunk = work.network.shared(rows.features).detach().double().numpy()
    line = regression.regression
    weight, bias = line.weight.detach().double().numpy(), line.bias.detach().double().numpy()
    error = float(((trunk @ weight.T + bias - rows.hidden.double().numpy()) ** 2).mean())
    assert student.loss(rows, masked, 1).item() == pytest.approx(weighed + 0.5 * error, rel=1e-5)
    assert student.loss(rows, masked, 2).item() == pytest.approx(weighed, rel=1e-5)


def test_some_of_the_rows_keep_everything_they_have(work: Work) -> None:
    index = torch.tensor([3, 1, 200])
    some = work.training.take(index)
    assert len(some) == 3
    for name in ("features", "targets", "taught", "label_weight", "hidden"):
        assert torch.equal(getattr(some, name).nan_to_num(), getattr(work.training, name)[index].nan_to_num())
    bare = work.validation.take(index)
    assert bare.taught is bare.label_weight is bare.hidden is None
