"""Splits one network of several behaviours into a shared part and a part per behaviour: decomposition of structure.

read back from its file → what every neuron matters to every behaviour → an owner for each → cut between owners, refit
→ fine-tune on the network's own answers → a teacher like any other, and a teacher of each behaviour
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from pydantic import Field

from fusion.branching.cutting import cut_within
from fusion.branching.network import BranchedNetwork
from fusion.branching.reading import read_dense
from fusion.branching.report import SplitReport, Structure
from fusion.branching.trace import lost, trace
from fusion.compress import own_targets
from fusion.distill.student import Rows
from fusion.errors import FusionError
from fusion.onnx_graph import Graph
from fusion.teachers.families import IMPORTED
from fusion.teachers.library import links_of, qualities, whole_players
from fusion.teachers.onnx_teacher import FEATURES, LINKS, OnnxTeacher
from fusion.teachers.parity import check_close, check_parity
from fusion.teachers.teacher import Progress, Task, silent
from fusion.telemetry.dataset import Split
from fusion.training import MaskedLoss, Schedule, predict, train
from inference.contract.artifact import sha256
from inference.contract.behaviours import from_link

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydantic import JsonValue

    from fusion.teachers.teacher import TeacherCard
    from fusion.telemetry.dataset import Dataset

_PROBE_ROWS: Final = 512
_LOST_NOTHING: Final = 1e-9
"""Share of a variance below which training has nothing to win back."""


class Splitting(Schedule):
    """How far to split, and how long to fine-tune."""

    tolerance: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="share of the variance of any behaviour's link that the cuts may cost on the calibration rows, "
        "before fine-tuning; 0 cuts only what no behaviour needs",
    )
    calibration_rows: int = Field(default=2048, ge=64, description="training rows that neurons are judged on")
    epochs: int = Field(default=4, ge=0, description="of fine-tuning, at most; 0 leaves it out")
    learning_rate: float = Field(default=1e-3, gt=0)
    label_share: float = Field(default=0.0, ge=0, le=1, description="weight of known labels against the own answers")
    training_rows: int = Field(default=120_000, ge=1, description="at most; whole players are left out above it")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class SplitTeacher:
    """What a split gives.

    Attributes:
        whole: a teacher of all behaviours, named `<name>_split`: a shared trunk, and a branch per behaviour whose nodes
            are named after it.
        parts: behaviour → a teacher of it alone, named `<name>_<behaviour>`: what it needs of the whole and no more, as
            a plain chain of layers over the features that reach it.
        report: what was done; in the card of the whole too, in the settings under "split".
    """

    whole: OnnxTeacher
    parts: dict[str, OnnxTeacher]
    report: SplitReport

    def part(self, behaviour: str) -> OnnxTeacher:
        """The teacher of one behaviour.

        Raises:
            FusionError: there is none of that name.
        """
        if behaviour not in self.parts:
            raise FusionError(
                f"part of teacher {self.whole.card.name}", got=behaviour, expected=f"one of {', '.join(self.parts)}"
            )
        return self.parts[behaviour]


def split(
    teacher: OnnxTeacher, dataset: Dataset, settings: Splitting | None = None, *, progress: Progress = silent
) -> SplitTeacher:
    """Split a network of several behaviours into what they share and what each needs alone.

    Args:
        teacher: of dense levels over features, ours (family mlp) or imported (see `fusion.branching.reading`).
        dataset: that it was trained on.
        settings: how far; the defaults where left out.
        progress: told how far the fine-tuning has come.

    Returns:
        The teacher in one piece, in parts, and what was done.

    Raises:
        FusionError: the teacher is of another kind or of one behaviour only, or does not fit the dataset.
    """
    settings, card = settings or Splitting(), teacher.card
    dense = read_dense(teacher)
    rows = whole_players(dataset.rows(Split.TRAIN), dataset.player, settings.training_rows, settings.seed)
    task = Task(dataset, card.behaviours, rows, dataset.rows(Split.VALIDATION))
    answers = links_of(teacher, dataset, task.validation)
    sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), settings.calibration_rows)).astype(np.int64)]
    seen = trace(dense, task.features(sample, card.features))
    _check_read(seen.links, links_of(teacher, dataset, sample), card)
    cut = cut_within(dense, seen, settings.tolerance)
    network = BranchedNetwork(cut.network, cut.owners)
    tuned = False
    if settings.epochs and cut.lost.max() > _LOST_NOTHING:
        network, tuned = _fine_tuned(network, teacher, task, settings, progress)

    names = card.behaviour_names
    whole = _written(network, teacher, task, names, f"{card.name}_split", IMPORTED)
    now = lost(answers, links_of(whole, dataset, task.validation))
    report = _report(
        Structure.of(dense, cut, network, names),
        tuned,
        dict(zip(names, now.tolist(), strict=True)),
        qualities(teacher, dataset, task.validation),
        qualities(whole, dataset, task.validation),
    )
    said: dict[str, JsonValue] = {
        "settings": settings.model_dump(mode="json"),
        "report": report.model_dump(mode="json"),
    }
    parts = {}
    for column, name in enumerate(names):
        # A chain is what its family writes: it can be read, compressed and stacked as any other of it.
        alone = _written(network.part(column), teacher, task, (name,), f"{card.name}_{name}", card.family)
        reached = {name: report.quality_after[name]} if name in report.quality_after else {}
        parts[name] = _with(alone, {"split": said["settings"]}, reached)
    return SplitTeacher(_with(whole, {"split": said}, report.quality_after), parts, report)


def _check_read(ours: NDArray[np.float64], theirs: NDArray[np.float32], card: TeacherCard) -> None:
    """What was read computes what the file does; probabilities near 1 are compared as such, as their last bits go."""
    for column, behaviour in enumerate(card.behaviours):
        read, said = ours[:, column], theirs[:, column].astype(np.float64)
        if behaviour.is_binary:
            read, said = from_link(read, behaviour), from_link(said, behaviour)
        check_close(read, said, where=f"teacher {card.name}, read back from its file")


def _rows(network: BranchedNetwork, task: Task, features: Sequence[str], rows: NDArray[np.int64]) -> Rows:
    """Rows with nothing to learn yet."""
    read = task.features(rows, tuple(features[column] for column in network.columns))
    return Rows(torch.from_numpy(np.ascontiguousarray(read)), torch.zeros(len(rows), 0))


def _fine_tuned(
    network: BranchedNetwork, teacher: OnnxTeacher, task: Task, settings: Splitting, progress: Progress
) -> tuple[BranchedNetwork, bool]:
    """The network trained on the teacher's answers, where that brings it nearer to them; and whether it does."""

    def examples(rows: NDArray[np.int64]) -> Rows:
        targets = own_targets(teacher, task, rows, settings.label_share)
        return Rows(_rows(network, task, teacher.card.features, rows).features, torch.from_numpy(targets))

    training, validation = examples(task.training), examples(task.validation)
    loss = MaskedLoss(task.behaviours, training.targets)
    start = float(loss(torch.from_numpy(predict(network, validation)), validation.targets))
    trained = deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        reached = train(trained, task.behaviours, training, validation, settings, progress, fresh=False)
    return (trained, True) if reached < start else (network, False)


def _written(
    network: BranchedNetwork, teacher: OnnxTeacher, task: Task, names: tuple[str, ...], name: str, family: str
) -> OnnxTeacher:
    """A teacher of some of the behaviours, proven to compute what torch computes."""
    graph = Graph("teacher")
    features = graph.input(FEATURES, (len(network.columns),))
    model = graph.serialise(network.add_to(graph, features, names), LINKS, len(names))
    probe = _rows(network, task, teacher.card.features, task.validation[:_PROBE_ROWS])
    check_parity(model, probe.features.numpy(), None, predict(network, probe))
    card = teacher.card.model_copy(
        update={
            "name": name,
            "family": family,
            "behaviours": tuple(behaviour for behaviour in teacher.card.behaviours if behaviour.name in names),
            "features": tuple(teacher.card.features[column] for column in network.columns),
            "parameters": network.parameter_count,
            "validation_quality": {},
            "onnx_sha256": sha256(model),
        }
    )
    return OnnxTeacher(model, card)


def _with(teacher: OnnxTeacher, settings: dict[str, JsonValue], quality: dict[str, float]) -> OnnxTeacher:
    """The teacher with more on its card."""
    update = {"settings": {**teacher.card.settings, **settings}, "validation_quality": quality}
    return OnnxTeacher(teacher.model, teacher.card.model_copy(update=update))


def _report(
    structure: Structure, tuned: bool, now: dict[str, float], before: dict[str, float], after: dict[str, float]
) -> SplitReport:
    qualities_said = [f"{name} {before[name]:.4f} → {after[name]:.4f}" for name in before if name in after]
    worst = max(now, key=now.__getitem__)
    sentences = [
        *structure.sentences(),
        "fine-tuned on its own answers" if tuned else "not fine-tuned: nothing to win back by it",
        f"validation players: links changed by at most {now[worst]:.2%} of their variance ({worst}); AUC or R²: "
        + ", ".join(qualities_said),
    ]
    return SplitReport(
        structure=structure,
        fine_tuned=tuned,
        lost=now,
        quality_before=before,
        quality_after=after,
        decisions=tuple(sentences),
    )
