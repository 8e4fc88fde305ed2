"""A network that starts from its teachers' neurons: they answer as in the teacher, and training has less to do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion.distill.student import Student
from fusion.errors import FusionError
from fusion.lowrank.start import start_from
from fusion.steps.step import Work
from fusion.teachers.examples import Examples
from fusion.teachers.inputs import Scaling
from fusion.teachers.network import Network
from fusion.teachers.scaled import ScaledInputs
from fusion.training import MaskedLoss, Schedule, predict, train
from tests.support.works import BEHAVIOURS, FEATURES, features, small_work, targets

NAMES = tuple(f"feature_{index}" for index in range(FEATURES))


def _teacher(hidden: tuple[int, ...], seed: int, *, epochs: int = 0) -> tuple[Network, ScaledInputs]:
    values = features(1500, seed=3)
    inputs = ScaledInputs(NAMES, Scaling.of_features(values), None)
    torch.manual_seed(seed)
    network = Network(FEATURES, hidden, len(BEHAVIOURS), None, 0.0)
    if epochs:
        examples = _examples(inputs, values)
        schedule = Schedule(epochs=epochs, batch_rows=128, learning_rate=1e-2)
        train(network, BEHAVIOURS, examples, examples, schedule, lambda *_: None)
    return network, inputs


def _examples(inputs: ScaledInputs, values: NDArray[np.float32]) -> Examples:
    rows = torch.arange(len(values))
    scaled = torch.from_numpy(inputs.features.apply(values))
    return Examples(scaled, torch.from_numpy(targets(values)), None, rows, torch.zeros_like(rows))


def _first_layer(network: Network, inputs: ScaledInputs, values: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.no_grad():
        found = torch.relu(network.hidden[0](torch.from_numpy(inputs.features.apply(values))))
    return np.asarray(found.double().numpy())


def test_input_units_are_the_teachers_neurons_at_the_knots() -> None:
    work = small_work()
    teacher, inputs = _teacher((12,), 0)
    # Rows whose every value is a knot, where the encoding loses nothing.
    knots = work.network.encoding.knots
    places = np.random.default_rng(0).integers(0, len(knots), size=(40, FEATURES))
    rows = knots[places, np.arange(FEATURES)]
    said = start_from(work.network, [(teacher, inputs)], work.training.features.numpy())
    assert any("12 of 12 neurons of 1 teachers" in sentence for sentence in said)
    with torch.no_grad():
        hidden = torch.relu(work.network.input(work.network.encode(torch.from_numpy(rows)))).double().numpy()
    wanted = _first_layer(teacher, inputs, rows)
    likeness = np.abs(hidden[:, :12, None] - wanted[:, None, :]).max(axis=0)
    assert sorted(likeness.argmin(axis=1).tolist()) == list(range(12))
    np.testing.assert_allclose(likeness.min(axis=1), 0.0, atol=2e-4)


def test_neurons_of_all_teachers_are_chosen_from_and_copies_only_once() -> None:
    work = small_work()
    one, other = _teacher((8, 6), 0), _teacher((16, 10), 1)
    start_from(work.network, [one, one, other], work.training.features.numpy())
    tensor = work.network.input.tensor().reshape(24, -1)
    assert len(np.unique(tensor.round(6), axis=0)) == 24


def test_a_start_from_trained_teachers_is_nearer_to_the_targets() -> None:
    taught = [_teacher((16, 12), seed, epochs=8) for seed in (0, 1)]

    def learnt(*, started: bool) -> float:
        work: Work = small_work()
        if started:
            start_from(work.network, taught, work.training.features.numpy())
        torch.manual_seed(0)
        schedule = Schedule(epochs=3, batch_rows=128, learning_rate=3e-3)
        student = Student(work.network)
        train(student, work.behaviours, work.training, work.validation, schedule, lambda *_: None)
        loss = MaskedLoss(work.behaviours, work.training.targets)
        return float(loss(torch.from_numpy(predict(student, work.validation)), work.validation.targets))

    assert learnt(started=True) < learnt(started=False)


def test_teachers_without_a_hidden_layer_are_refused() -> None:
    work = small_work()
    with pytest.raises(FusionError, match="an mlp teacher at least"):
        start_from(work.network, [_teacher((), 0)], work.training.features.numpy())
