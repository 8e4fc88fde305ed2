"""Several networks in, one small network out whose weights share factors: for networks of one ancestor, or alike.

read back from their files → over the union of their features → stacked level by level → decomposed together under one
budget → fine-tuned on the networks' own answers → one teacher of all behaviours, and a teacher of each
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt

from fusion.branching.trace import trace
from fusion.compress import own_targets
from fusion.distill.student import Rows
from fusion.errors import FusionError
from fusion.lowrank.alignment import aligned
from fusion.lowrank.allocation import allocate
from fusion.lowrank.metric import Metric
from fusion.lowrank.stack_forms import Anchor
from fusion.onnx_graph import Graph
from fusion.sharing.network import SharedNetwork
from fusion.sharing.towers import Towers, read_towers
from fusion.steps.decompose import Anchored, Basis, Cp, PerModelSvd, Tucker
from fusion.teachers.families import IMPORTED
from fusion.teachers.library import qualities, whole_players
from fusion.teachers.onnx_teacher import FEATURES, LINKS, OnnxTeacher
from fusion.teachers.parity import check_parity
from fusion.teachers.teacher import Progress, Task, silent
from fusion.telemetry.dataset import Split
from fusion.training import Schedule, predict, train
from inference.contract.artifact import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fusion.lowrank.form import Form
    from fusion.steps.decompose import AnyStackForm
    from fusion.telemetry.dataset import Dataset

_PROBE_ROWS: Final = 512
_START_ENERGY: Final = 0.9999999
_FORMS: Final[dict[str, AnyStackForm]] = {
    "tucker": Tucker(ranks=(None, 1, 1)),
    "cp": Cp(rank=1),
    "basis": Basis(rank=1),
    "anchored": Anchored(rank=1),
    "per_model_svd": PerModelSvd(rank=1),
}


class Sharing(Schedule):
    """How small together, in which form, and how long to fine-tune."""

    budget_parameters: PositiveInt = Field(description="numbers that all networks together may store")
    form: Literal["tucker", "cp", "basis", "anchored", "per_model_svd"] = Field(
        default="tucker", description="of the stack of every level, see docs/fusion.md; what would grow stays dense"
    )
    align: bool = Field(default=False, description="put hidden units in the first network's order, for equal widths")
    calibration_rows: int = Field(default=1024, ge=64, description="training rows that the metric is measured on")
    epochs: int = Field(default=6, ge=0, description="of fine-tuning, at most; 0 leaves it out")
    learning_rate: PositiveFloat = 2e-3
    label_share: float = Field(default=0.3, ge=0, le=1, description="weight of known labels against the own answers")
    training_rows: PositiveInt = Field(default=120_000, description="at most; whole players are left out above it")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class SharedTeachers:
    """What comes out.

    Attributes:
        whole: one teacher of all behaviours, whose file stores the shared factors once; None where two networks predict
            the same behaviour, as those of two regions do.
        parts: name of each network → a teacher of it alone, `<name>_shared`.
        parameters: numbers that all networks together store, shared ones once.
    """

    whole: OnnxTeacher | None
    parts: dict[str, OnnxTeacher]
    parameters: int


def share(
    teachers: Sequence[OnnxTeacher],
    dataset: Dataset,
    settings: Sharing,
    *,
    ancestor: OnnxTeacher | None = None,
    name: str = "shared",
    progress: Progress = silent,
) -> SharedTeachers:
    """Let several networks share what their weights have in common.

    Args:
        teachers: two or more networks of ReLU levels over features, of one depth and any widths (see
            `fusion.sharing.towers`).
        dataset: with the features that they read.
        settings: how small.
        ancestor: the network that all were trained on from; with `form: anchored` only what each one adds to it is
            decomposed. Without it the mean of all stands in.
        name: of the teacher of all behaviours.
        progress: told how far the fine-tuning has come.

    Raises:
        FusionError: a teacher is another kind of network or does not fit the dataset, networks of other widths are to
            be aligned, or the budget is too small.
    """
    if len(teachers) < 2 or (ancestor is not None and settings.form != "anchored"):
        raise FusionError(
            "networks that share factors",
            got=f"{len(teachers)} networks" if len(teachers) < 2 else f"an ancestor with form {settings.form}",
            expected="two at least" if len(teachers) < 2 else "an ancestor with form anchored only",
        )
    # The ancestor is read with the others, so that it lies over the same features in the same widths.
    every = read_towers([*teachers, *([ancestor] if ancestor is not None else [])])
    if settings.align:
        _check_widths(every)
        every = replace(every, towers=aligned(every.towers))
    towers, origin = _apart(every, len(teachers))
    tasks = _tasks(teachers, dataset, settings)
    network = SharedNetwork(towers)
    sample = tasks[0].training
    sample = sample[np.linspace(0, len(sample) - 1, min(len(sample), settings.calibration_rows)).astype(np.int64)]
    _decompose(
        network,
        [task.features(sample, t.card.features) for task, t in zip(tasks, teachers, strict=True)],
        settings,
        origin,
    )
    if settings.epochs:
        _fine_tune(network, teachers, tasks, settings, progress)
    return _written(network, teachers, tasks, settings, name)


def _check_widths(every: Towers) -> None:
    """What fills a narrow network up comes after its own units, and has to stay there."""
    if len(set(every.widths)) > 1:
        raise FusionError(
            "align",
            got=f"networks of widths {' and '.join(str(widths) for widths in dict.fromkeys(every.widths))}",
            expected="equal widths: units of unlike networks have no common order",
            fix="Leave align out: widths may differ without it.",
        )


def _apart(every: Towers, count: int) -> tuple[Towers, tuple[NDArray[np.float64], ...] | None]:
    """The networks, and the ancestor's weights where there is one."""
    if len(every.towers) == count:
        return every, None
    fields = {
        field: getattr(every, field)[:count] for field in ("towers", "widths", "reads", "answers", "networks", "names")
    }
    return replace(every, **fields), every.towers[count].weights


def _tasks(teachers: Sequence[OnnxTeacher], dataset: Dataset, settings: Sharing) -> list[Task]:
    rows = whole_players(dataset.rows(Split.TRAIN), dataset.player, settings.training_rows, settings.seed)
    return [Task(dataset, teacher.card.behaviours, rows, dataset.rows(Split.VALIDATION)) for teacher in teachers]


def _decompose(
    network: SharedNetwork,
    features: Sequence[NDArray[np.float32]],
    settings: Sharing,
    origin: tuple[NDArray[np.float64], ...] | None,
) -> None:
    """Put every level in its form, with ranks that fit the budget together."""
    spec = PerModelSvd(rank=1) if origin is not None else _FORMS[settings.form]
    moments = _moments(network.known, features)
    choices, metrics, cut = [], [], []
    for number, (outputs, inputs) in enumerate(moments):
        stack = network.layer(number).tensor()
        cut.append(stack if origin is None else stack - origin[number])
        metrics.append(Metric.from_second_moments(None, outputs, inputs))
        worth = float(np.einsum("moi,ij,mpj,op->", cut[-1], inputs, cut[-1], outputs, optimize=True))
        choices.append(spec.choice(f"level {number}", cut[-1], metrics[-1], worth, settings.seed))
    fixed = sum(network.layer(number).bias.kept for number in range(len(choices)))
    fixed += 0 if origin is None else sum(weight.size for weight in origin)
    start = [choice.by_energy(_START_ENERGY) for choice in choices]
    for number, slots in enumerate(allocate(choices, start, settings.budget_parameters - fixed)):
        chosen = spec.with_slots(slots)
        if origin is None and chosen.numbers(cut[number].shape) >= cut[number].size:
            continue
        terms: list[Form] = [] if origin is None else [Anchor(origin[number])]
        network.replace(number, *terms, chosen.fit(cut[number], metrics[number], settings.seed))


def _moments(
    towers: Towers, features: Sequence[NDArray[np.float32]]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Per level the second moments of what all towers' links feel of its outputs, and of its inputs."""
    found = []
    traces = [trace(network, rows) for network, rows in zip(towers.networks, features, strict=True)]
    for level, weight in enumerate(towers.towers[0].weights):
        outputs, inputs = np.zeros((len(weight),) * 2), np.zeros((weight.shape[1],) * 2)
        for model, one in enumerate(traces):
            units, below = (np.flatnonzero(own[model]) for own in towers.own(level))
            if level == 0:
                # A tower reads its features in an order of its own.
                below = np.array([towers.features.index(name) for name in towers.names[model]])
            gradient = one.gradients[level].reshape(-1, len(units))
            outputs[np.ix_(units, units)] += gradient.T @ gradient / len(gradient)
            inputs[np.ix_(below, below)] += one.inputs[level].T @ one.inputs[level] / len(one.inputs[level])
        found.append((outputs, inputs))
    return found


def _rows(network: SharedNetwork, task: Task, rows: NDArray[np.int64]) -> Rows:
    read = task.features(rows, network.known.features)
    return Rows(torch.from_numpy(np.ascontiguousarray(read)), torch.zeros(len(rows), 0))


def _fine_tune(
    network: SharedNetwork,
    teachers: Sequence[OnnxTeacher],
    tasks: Sequence[Task],
    settings: Sharing,
    progress: Progress,
) -> None:
    def examples(rows: NDArray[np.int64]) -> Rows:
        wanted = [own_targets(one, task, rows, settings.label_share) for one, task in zip(teachers, tasks, strict=True)]
        return replace(_rows(network, tasks[0], rows), targets=torch.from_numpy(np.concatenate(wanted, axis=1)))

    behaviours = tuple(behaviour for task in tasks for behaviour in task.behaviours)
    training, validation = examples(tasks[0].training), examples(tasks[0].validation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        train(network, behaviours, training, validation, settings, progress, fresh=False)


def _written(
    network: SharedNetwork, teachers: Sequence[OnnxTeacher], tasks: Sequence[Task], settings: Sharing, name: str
) -> SharedTeachers:
    known = network.known
    probe = _rows(network, tasks[0], tasks[0].validation[:_PROBE_ROWS])
    links, behaviours = predict(network, probe), [b for task in tasks for b in task.behaviours]
    said = {"sharing": {"settings": settings.model_dump(mode="json"), "parameters": network.parameter_count}}

    def teacher(
        called: str,
        like: OnnxTeacher,
        features: tuple[str, ...],
        columns: slice,
        parameters: int,
        add: Callable[[Graph, str], str],
    ) -> OnnxTeacher:
        graph, own = Graph("teacher"), tuple(behaviours[columns])
        model = graph.serialise(add(graph, graph.input(FEATURES, (len(features),))), LINKS, len(own))
        read = tasks[0].features(tasks[0].validation[:_PROBE_ROWS], features)
        check_parity(model, np.ascontiguousarray(read), None, links[:, columns])
        card = like.card.model_copy(
            update={
                "name": called,
                "family": IMPORTED,
                "behaviours": own,
                "features": features,
                "parameters": parameters,
                "settings": {**like.card.settings, **said},
                "onnx_sha256": sha256(model),
            }
        )
        reached = qualities(OnnxTeacher(model, card), tasks[0].dataset, tasks[0].validation)
        return OnnxTeacher(model, card.model_copy(update={"validation_quality": reached}))

    parts, start = {}, 0
    for model, one in enumerate(teachers):
        stop = start + len(one.card.behaviours)
        features = tuple(name for name, read in zip(known.features, known.reads[model], strict=True) if read)
        parts[one.card.name] = teacher(
            f"{one.card.name}_shared",
            one,
            features,
            slice(start, stop),
            network.numbers_of(model),
            lambda graph, value, model=model: network.add_one(graph, value, model),  # type: ignore[misc]
        )
        start = stop
    names = [behaviour.name for behaviour in behaviours]
    whole = None
    if len(set(names)) == len(names):
        whole = teacher(name, teachers[0], known.features, slice(None), network.parameter_count, network.add_to)
    return SharedTeachers(whole, parts, network.parameter_count)
