"""Compresses one torch teacher on its own, to a given number of parameters: the honest baseline of fusion.

read back from its file → prune units, on demand → metric (through time) → ranks by budget → decompose, refit →
fine-tune on the teacher's own answers → quantize, on demand → a teacher like any other, with its card
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt

from fusion.errors import FusionError
from fusion.lowrank.allocation import allocate
from fusion.lowrank.refit import Drift, refit
from fusion.lowrank.tower import LowRankTower
from fusion.prune.criteria import Criterion
from fusion.prune.state import SECOND_ORDER, state_scores
from fusion.steps.forms import Cp, Tucker
from fusion.steps.quantize import Scheme
from fusion.teachers.library import links_of, qualities, whole_players
from fusion.teachers.network import write
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.reading import read_network
from fusion.teachers.teacher import Progress, Task, silent
from fusion.telemetry.dataset import Split
from fusion.training import Schedule, train
from inference.contract.artifact import sha256
from inference.contract.behaviours import from_link

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.lowrank.layer import LowRankLayer
    from fusion.steps.forms import FormSpec
    from fusion.teachers.examples import Examples
    from fusion.telemetry.dataset import Dataset
    from inference.contract.behaviours import Behaviour

_START_ENERGY: Final = 0.9999


class Compression(Schedule):
    """How small, and how long to fine-tune."""

    budget_parameters: PositiveInt = Field(description="numbers that the network may store")
    epochs: PositiveInt = 6
    learning_rate: PositiveFloat = 2e-3
    label_share: float = Field(default=0.3, ge=0, le=1, description="weight of known labels against the teacher")
    training_rows: PositiveInt = Field(default=120_000, description="at most; whole players are left out above it")
    calibration_rows: int = Field(default=1024, ge=64, description="training rows that the metric is measured on")
    prune_units: float = Field(
        default=0.0, ge=0, lt=1, description="share of the encoder's units to remove first: those worth least"
    )
    prune_criterion: Criterion | Literal["second_order"] = Field(
        default=SECOND_ORDER, description="what a unit is worth: see fusion.prune.state"
    )
    refit_sweeps: int = Field(default=1, ge=0, le=10)
    quantize: Scheme | None = Field(default=None, description="of the tensors, after fine-tuning")
    seed: int = Field(default=0, ge=0)


def compress(
    teacher: OnnxTeacher, dataset: Dataset, settings: Compression, *, progress: Progress = silent
) -> OnnxTeacher:
    """A smaller teacher that answers as much as possible like a given one.

    Args:
        teacher: of a torch family.
        dataset: that it was trained on.
        settings: how small.
        progress: told how far the fine-tuning has come.

    Returns:
        A teacher of the same behaviours, named `<name>_small`, whose card has the settings under "compression".

    Raises:
        FusionError: the teacher is of another family, does not fit the dataset, or cannot be made that small.
    """
    card = teacher.card
    rows = whole_players(dataset.rows(Split.TRAIN), dataset.player, settings.training_rows, settings.seed)
    task = Task(dataset, card.behaviours, rows, dataset.rows(Split.VALIDATION))
    network, inputs = read_network(teacher)
    tower = LowRankTower.from_network(network)
    sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), settings.calibration_rows)).astype(np.int64)]
    calibration = inputs.own(task, sample)
    if settings.prune_units > 0:
        prune(tower, calibration, settings.prune_units, settings.prune_criterion, card.behaviours)
    decompose(tower, calibration, settings)

    def examples(wanted: NDArray[np.int64]) -> Examples:
        found, order = inputs.shared(task, wanted)
        return replace(found, targets=torch.from_numpy(own_targets(teacher, task, order, settings.label_share)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        training, validation = examples(rows), examples(task.validation)
        train(tower, card.behaviours, training, validation, settings, progress, fresh=False)
    if settings.quantize is not None:
        for layer in tower.layers().values():
            for _, weight in layer.weights():
                weight.grid = settings.quantize.fit(weight.numpy())
    fitted = write(tower, inputs, task, tower.parameter_count)
    small = card.model_copy(
        update={
            "name": f"{card.name}_small",
            "parameters": fitted.parameters,
            "seed": settings.seed,
            "settings": {**card.settings, "compression": settings.model_dump(mode="json")},
            "onnx_sha256": sha256(fitted.model),
        }
    )
    reached = qualities(OnnxTeacher(fitted.model, small), dataset, task.validation)
    return OnnxTeacher(fitted.model, small.model_copy(update={"validation_quality": reached}))


def prune(
    tower: LowRankTower,
    examples: Examples,
    share: float,
    criterion: Criterion | Literal["second_order"] = SECOND_ORDER,
    behaviours: tuple[Behaviour, ...] = (),
) -> None:
    """Remove a share of the units of a tower's encoder, those that are worth least.

    Args:
        tower: changed in place.
        examples: that the worth is measured on.
        share: of the units.
        criterion: what a unit is worth.
        behaviours: what the tower predicts: needed by Taylor, which asks the labels.

    Raises:
        FusionError: there is no encoder, or Taylor lacks labels.
    """
    if not tower.units():
        raise FusionError(
            "prune_units",
            got="a network that reads no sequences",
            expected="a recurrent or convolutional one: units of its state are what is removed",
            fix="Leave prune_units at 0: ranks alone make this one smaller.",
        )
    for units in tower.units():
        worth = state_scores(tower, units, criterion, examples, behaviours)
        count = max(1, round((1.0 - share) * units.count))
        if count < units.count:
            tower.keep(units, np.sort(np.argsort(-worth, kind="stable")[:count]))


def decompose(tower: LowRankTower, examples: Examples, settings: Compression) -> None:
    """Decompose every tensor of a tower in place, with ranks that fit the budget together.

    Args:
        tower: dense.
        examples: that the metric is measured on.
        settings: budget, refit, seed.

    Raises:
        FusionError: the budget is too small.
    """
    statistics, layers = tower.statistics(examples), tower.layers()
    forms = {name: _form(layer) for name, layer in layers.items()}
    metrics = {name: statistics[name].metric(layer.shape, layer.out_modes) for name, layer in layers.items()}
    choices = [
        form.choice(
            name, (tensor := layers[name].tensor()), metrics[name], statistics[name].cost(tensor), settings.seed
        )
        for name, form in forms.items()
    ]
    fixed = tower.parameter_count - sum(choice.dense for choice in choices)
    start = [choice.by_energy(_START_ENERGY) for choice in choices]
    for choice, slots in zip(choices, allocate(choices, start, settings.budget_parameters - fixed), strict=True):
        if choice.numbers(slots) >= choice.dense:
            continue
        layer, found = layers[choice.name], statistics[choice.name]
        tensor = layer.tensor()
        form = forms[choice.name].with_slots(slots).fit(tensor, metrics[choice.name], settings.seed)
        drift = Drift.none(found)
        form, _ = refit(form, tensor, found, layer.out_modes, settings.refit_sweeps)
        bias = None if layer is tower.state else drift.bias(layer.bias.numpy(), tensor, form.to_tensor())
        tower.replace(choice.name, layer.in_form(form, bias=bias))


def _form(layer: LowRankLayer) -> FormSpec:
    """Gates and kernel steps are slices: whole modes, with a core each and shared factors."""
    if len(layer.shape) == 2:
        return Cp(rank=1)
    return Tucker(ranks=(None, 1, 1) if layer.out_modes == 2 else (1, None, 1))


def own_targets(teacher: OnnxTeacher, task: Task, rows: NDArray[np.int64], label_share: float) -> NDArray[np.float32]:
    """(rows, behaviours): the teacher's answers, with the labels mixed in where they are known."""
    links, labels = links_of(teacher, task.dataset, rows), task.targets(rows)
    taught: NDArray[np.float64] = np.stack(
        [
            from_link(links[:, column].astype(np.float64), behaviour) if behaviour.is_binary else links[:, column]
            for column, behaviour in enumerate(task.behaviours)
        ],
        axis=1,
    )
    mixed = (1.0 - label_share) * taught + label_share * labels
    return np.where(np.isnan(labels), taught, mixed).astype(np.float32)
