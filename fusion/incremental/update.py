"""Adds, refreshes or removes one behaviour of a fused network, without training the rest again.

What a behaviour owns is a slice of the stacked behaviour layers (a core of a Tucker form, as many numbers as the rank
of a CP form), of its bias and of the read-out. Everything else is shared, and stays as it is: frozen. The others'
answers keep every bit; that is checked on players drawn at random, through ONNX Runtime, before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fusion import export
from fusion.errors import FusionError
from fusion.incremental.fused import write
from fusion.incremental.learner import OneBehaviour
from fusion.incremental.lesson import Lesson
from fusion.pipeline import part
from fusion.training import MaskedLoss, Schedule, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.distill.student import Rows
    from fusion.incremental.fused import Fused
    from fusion.network import FusedNetwork
    from fusion.pipeline import Told
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.behaviours import Behaviour
    from inference.contract.passport import Passport

SCHEDULE: Final = Schedule(epochs=24, learning_rate=1e-2, weight_decay=0.0, patience_epochs=6)


def remove(fused: Fused, name: str, out: Path, version: str, told: Told) -> Passport:
    """Write an artifact that does not predict a behaviour any more.

    Args:
        fused: to take it from.
        name: of the behaviour.
        out: folder of the new artifact; may be that of the old one.
        version: of the new model.
        told: told how far it has come.

    Raises:
        FusionError: it does not predict that, or it is the only one.
        ArtifactError: the artifact cannot be written.
    """
    position = fused.position(name)
    if len(fused.behaviours) == 1:
        raise FusionError(str(fused.artifact.path), got=f"{name} alone", expected="another behaviour that stays")
    kept = np.array([column for column in range(len(fused.behaviours)) if column != position], dtype=np.int64)
    network = fused.saved.network
    network.keep_behaviours(kept)
    passport = fused.artifact.passport
    passport = passport.model_copy(
        update={
            "behaviours": tuple(row for row in passport.behaviours if row.behaviour != name),
            "calibration": tuple(curve for curve in passport.calibration if curve.behaviour != name),
            "decisions": (*passport.decisions, f"{name} was removed; nothing else was touched"),
        }
    )
    behaviours = tuple(fused.behaviours[column] for column in kept)
    return write(fused, behaviours, fused.artifact.manifest.priors, passport, f"remove {name}", out, version, told)


def add(
    fused: Fused,
    name: str,
    dataset: Dataset,
    teachers: Sequence[OnnxTeacher],
    out: Path,
    version: str,
    told: Told,
    *,
    schedule: Schedule = SCHEDULE,
) -> Passport:
    """Write an artifact that predicts one behaviour more, or one anew: only what that behaviour owns is trained.

    Args:
        fused: to add it to.
        name: of the behaviour, one of the dataset's; one that is there already is refreshed.
        dataset: players to learn from, with the features that the network reads.
        teachers: those that predict the behaviour are asked.
        out: folder of the new artifact; may be that of the old one.
        version: of the new model.
        told: told how far it has come.
        schedule: how long and how fast to train.

    Raises:
        FusionError: the dataset or the teachers do not know the behaviour, a feature is missing, or there are no
            players to learn from or to judge by.
        ArtifactError: the artifact cannot be written.
    """
    lesson = Lesson.prepare(fused, name, dataset, teachers, told)
    behaviour, network = lesson.dataset.behaviours[0], fused.saved.network
    names = fused.artifact.manifest.behaviour_names
    refreshed = name in names
    position = names.index(name) if refreshed else _place(fused.behaviours, behaviour)
    if not refreshed:
        network.add_behaviour(position, _nearest(network, lesson.validation))
    learner = OneBehaviour(network, position)
    if not refreshed:
        learner.start_from(float(MaskedLoss((behaviour,), lesson.training.targets).best_constant))
    torch.manual_seed(fused.artifact.passport.seed)
    train(
        learner,
        (behaviour,),
        lesson.training,
        lesson.validation,
        schedule,
        part(told, "train"),
        fresh=False,
    )
    learner.release()
    behaviours = (*fused.behaviours[:position], behaviour, *fused.behaviours[position + refreshed :])
    passport = lesson.passport(fused, position, behaviours)
    priors = fused.artifact.manifest.priors | {name: lesson.prior}
    stage = f"{'refresh' if refreshed else 'add'} {name}"
    return write(fused, behaviours, priors, passport, stage, out, version, told)


def _place(behaviours: Sequence[Behaviour], new: Behaviour) -> int:
    """Probabilities come before amounts."""
    return sum(behaviour.is_binary for behaviour in behaviours) if new.is_binary else len(behaviours)


def _nearest(network: FusedNetwork, rows: Rows) -> int:
    """The column whose links go most closely with the targets: the best one to start from."""
    links = export.predict_links(network, rows.features.numpy())
    wanted = rows.targets[:, 0].numpy()
    known = ~np.isnan(wanted)
    return int(np.argmax([_likeness(column[known], wanted[known]) for column in links.T]))


def _likeness(links: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """Size of the correlation; 0 where either never varies, as of one player."""
    if min(len(np.unique(links)), len(np.unique(targets))) < 2:
        return 0.0
    return abs(float(np.corrcoef(links, targets)[0, 1]))
