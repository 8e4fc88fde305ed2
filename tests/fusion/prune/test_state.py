"""Units of a recurrent state, judged on the roll-out: dead ones are worth nothing, and the file really shrinks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from pydantic import JsonValue

from fusion.compress import Compression, compress, prune
from fusion.errors import FusionError
from fusion.lowrank.recurrent import LowRankGru
from fusion.lowrank.tower import LowRankTower
from fusion.prune.criteria import Criterion
from fusion.prune.state import SECOND_ORDER, state_scores
from fusion.teachers.library import links_of, train
from fusion.teachers.network import write
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.reading import read_network
from fusion.teachers.specs import TeacherSpec
from fusion.teachers.teacher import Task
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from fusion.training import MaskedLoss
from inference.contract.artifact import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    from fusion.prune.unit import Slice
    from fusion.teachers.examples import Examples
    from fusion.teachers.scaled import ScaledInputs

    Worth = Criterion | Literal["second_order"]

FAMILIES = ("gru", "tcn")
CRITERIA = (*Criterion, SECOND_ORDER)
WIDTH, DEAD = 10, [2, 7]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(200, seed=3))


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxTeacher]:
    torch.set_num_threads(1)
    behaviours = ("churn_7d", "playtime_7d_hours")
    settings: dict[str, JsonValue] = {"width": WIDTH, "hidden": [12], "epochs": 1}
    specs = [TeacherSpec(name=f"a_{f}", family=f, behaviours=behaviours, settings=settings) for f in FAMILIES]
    specs.append(TeacherSpec(name="flat", family="mlp", behaviours=behaviours, settings={"hidden": [8], "epochs": 1}))
    found = train(dataset, specs, tmp_path_factory.mktemp("teachers"))
    return {teacher.card.family: teacher for teacher in found}


def _task(dataset: Dataset, teacher: OnnxTeacher, rows: int = 300) -> Task:
    chosen = dataset.rows(Split.TRAIN)[:rows]
    return Task(dataset, teacher.card.behaviours, chosen, chosen)


def _twin(dataset: Dataset, teacher: OnnxTeacher) -> tuple[LowRankTower, ScaledInputs, Examples]:
    network, inputs = read_network(teacher)
    task = _task(dataset, teacher)
    return LowRankTower.from_network(network), inputs, inputs.own(task, task.training)


def _zero(slices: Iterable[Slice], index: list[int]) -> None:
    with torch.no_grad():
        for weight, axis in slices:
            weight.array.index_fill_(axis, torch.tensor(index), 0.0)


def _file(tower: LowRankTower, inputs: ScaledInputs, dataset: Dataset, teacher: OnnxTeacher) -> OnnxTeacher:
    fitted = write(tower, inputs, _task(dataset, teacher), tower.parameter_count)
    return OnnxTeacher(fitted.model, teacher.card.model_copy(update={"onnx_sha256": sha256(fitted.model)}))


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", ["unread", "unwritten"])
def test_dead_units_are_worth_nothing_and_leave_a_smaller_file_that_answers_alike(
    dataset: Dataset, teachers: dict[str, OnnxTeacher], family: str, criterion: Worth, place: str
) -> None:
    teacher = teachers[family]
    tower, inputs, examples = _twin(dataset, teacher)
    (units,) = tower.units()
    _zero(units.gate if place == "unread" else units.others[0], DEAD)
    worth = state_scores(tower, units, criterion, examples, teacher.card.behaviours)
    assert worth.shape == (WIDTH,)
    assert not worth[DEAD].any()
    assert (np.delete(worth, DEAD) > 0).all()
    before = _file(tower, inputs, dataset, teacher)
    prune(tower, examples, len(DEAD) / WIDTH, criterion, teacher.card.behaviours)
    after = _file(tower, inputs, dataset, teacher)
    assert tower.encoder is not None
    assert tower.encoder.width == WIDTH - len(DEAD)
    assert len(before.model) - len(after.model) > 4 * len(DEAD) * WIDTH
    rows = dataset.rows(Split.TEST)[:200]
    np.testing.assert_allclose(links_of(after, dataset, rows), links_of(before, dataset, rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_taylor_is_the_slope_of_the_loss_through_all_of_time(
    dataset: Dataset, teachers: dict[str, OnnxTeacher], family: str
) -> None:
    """Against finite differences: whatever reads a unit is multiplied by 1 + h and by 1 - h."""
    teacher = teachers[family]
    tower, _, examples = _twin(dataset, teacher)
    tower.double()
    examples = next(iter(examples.batches(10**6, shuffle=False)))
    examples = type(examples)(
        examples.features.double(),
        examples.targets.double(),
        None if examples.sequences is None else examples.sequences.double(),
        examples.window,
        examples.place,
    )
    (units,) = tower.units()
    behaviours = teacher.card.behaviours
    loss, step = MaskedLoss(behaviours, examples.targets), 1e-4
    slopes = np.zeros(WIDTH)
    with torch.no_grad():
        for unit in range(WIDTH):
            for sign in (1.0, -1.0):
                kept = [weight.array.clone() for weight, _ in units.gate]
                for weight, axis in units.gate:
                    weight.array.select(axis, unit).mul_(1.0 + sign * step)
                slopes[unit] += sign * float(loss(tower(examples), examples.targets)) / (2 * step)
                for (weight, _), array in zip(units.gate, kept, strict=True):
                    weight.array.copy_(array)
    # All rows in one batch: 300 windows of one row each.
    found = state_scores(tower, units, Criterion.TAYLOR, examples, behaviours)
    np.testing.assert_allclose(found, slopes**2, rtol=1e-3, atol=1e-12)


def test_activation_is_the_mean_square_of_the_state_over_the_roll_out_times_what_reads_it(
    dataset: Dataset, teachers: dict[str, OnnxTeacher]
) -> None:
    tower, _, examples = _twin(dataset, teachers["gru"])
    gru = tower.encoder
    assert isinstance(gru, LowRankGru)
    assert tower.state is not None
    assert examples.sequences is not None
    states = gru(examples.sequences).detach().double().numpy()
    present = examples.sequences[..., 0].numpy() > 0
    last = states[:, -1]
    # Every session reads the state before it, the first one zeros: all states but the newest, one reading per session.
    earlier = (states**2 * present[..., None]).sum(axis=(0, 1)) - (last**2).sum(axis=0)
    recur = earlier / present.sum() * (gru.recur.tensor() ** 2).sum(axis=(0, 1))
    read = (last**2).mean(axis=0) * (tower.state.tensor() ** 2).sum(axis=0)
    (units,) = tower.units()
    found = state_scores(tower, units, Criterion.ACTIVATION, examples, teachers["gru"].card.behaviours)
    np.testing.assert_allclose(found, np.sqrt(recur + read), rtol=1e-4)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_can_be_asked_for_and_is_in_the_card(
    dataset: Dataset, teachers: dict[str, OnnxTeacher], criterion: Worth
) -> None:
    settings = Compression(
        budget_parameters=700, prune_units=0.3, prune_criterion=criterion, epochs=1, calibration_rows=128
    )
    small = compress(teachers["gru"], dataset, settings)
    assert small.card.parameters <= 700
    said = small.card.settings["compression"]
    assert isinstance(said, dict)
    assert said["prune_criterion"] == criterion
    assert len(small.model) < len(teachers["gru"].model)


def test_a_network_without_a_state_and_rows_without_labels_are_refused(
    dataset: Dataset, teachers: dict[str, OnnxTeacher]
) -> None:
    with pytest.raises(FusionError, match="reads no sequences"):
        compress(teachers["mlp"], dataset, Compression(budget_parameters=500, prune_units=0.3, calibration_rows=64))
    tower, _, examples = _twin(dataset, teachers["gru"])
    examples.targets.fill_(np.nan)
    with pytest.raises(FusionError, match="no two different ones"):
        prune(tower, examples, 0.3, Criterion.TAYLOR, teachers["gru"].card.behaviours)
