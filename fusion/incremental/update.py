"""Adds, refreshes or removes one behaviour of a fused network, without training the rest again.

What a behaviour owns is a slice of the stacked behaviour layers (a core of a Tucker form, as many numbers as the rank
of a CP form), of its bias and of the read-out. Everything else is shared, and stays as it is: frozen. The others'
answers keep every bit; that is checked on players drawn at random, through ONNX Runtime, before anything is written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from scipy.special import logit

from fusion import export
from fusion.errors import FusionError
from fusion.incremental.fused import write
from fusion.incremental.learner import OneBehaviour
from fusion.incremental.lesson import Lesson
from fusion.pipeline import part
from fusion.training import Schedule, train
from inference.contract.behaviours import NAME_PATTERN

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
    from inference.contract.behaviours import Behaviour, Kind
    from inference.contract.passport import Passport

SCHEDULE: Final = Schedule(epochs=24, learning_rate=1e-2, weight_decay=0.0, patience_epochs=6)
_LEAST_PROBABILITY: Final = 1e-3


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
            "private": tuple(one for one in passport.private if one.behaviour != name),
            "decisions": (*passport.decisions, f"{name} was removed; nothing else was touched"),
        }
    )
    behaviours = tuple(fused.behaviours[column] for column in kept)
    fused = fused.without_branch(name)
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
    called: str | None = None,
    schedule: Schedule = SCHEDULE,
) -> Passport:
    """Write an artifact that predicts one behaviour more, or one anew: only what that behaviour owns is trained.

    Args:
        fused: to add it to.
        name: of the behaviour, one of the dataset's.
        dataset: players to learn from, with the features that the network reads.
        teachers: those that predict the behaviour are asked.
        out: folder of the new artifact; may be that of the old one.
        version: of the new model.
        told: told how far it has come.
        called: what the network is to call it: a region's own churn, say, beside that of all players. One that is
            there already is refreshed.
        schedule: how long and how fast to train.

    Raises:
        FusionError: the dataset or the teachers do not know the behaviour, the network calls another quantity so, a
            feature is missing, a refreshed one is kept private, or there are no players to learn from or to judge by.
        ArtifactError: the artifact cannot be written.
    """
    called = called or name
    _check_name(fused, name, called, dataset)
    _check_fused(fused, called)
    lesson = Lesson.prepare(fused, name, called, dataset, teachers, told)
    behaviour, network = lesson.dataset.behaviours[0], fused.saved.network
    names = fused.artifact.manifest.behaviour_names
    refreshed = called in names
    position = names.index(called) if refreshed else _place(fused.behaviours, behaviour)
    if refreshed:
        learner = OneBehaviour(network, position)
    else:
        nearest, slope, intercept = _nearest(network, behaviour, lesson.validation)
        network.add_behaviour(position, nearest)
        learner = OneBehaviour(network, position)
        learner.start_as(slope, intercept)
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
    priors = fused.artifact.manifest.priors | {called: lesson.prior}
    stage = f"{'refresh' if refreshed else 'add'} {called}"
    return write(fused, behaviours, priors, passport, stage, out, version, told)


def _check_name(fused: Fused, name: str, called: str, dataset: Dataset) -> None:
    """Refuse what cannot be a behaviour's name, and the name of one that measures something else."""
    if not re.fullmatch(NAME_PATTERN, called):
        raise FusionError(
            "name of the added behaviour",
            got=repr(called),
            expected="lower-case letters, digits and underscores, a letter first, 63 at most",
        )
    there = {behaviour.name: behaviour for behaviour in fused.behaviours}
    new = {behaviour.name: behaviour for behaviour in dataset.behaviours}
    if called in there and name in new and _measure(there[called]) != _measure(new[name]):
        raise FusionError(
            f"behaviour {called}",
            got=f"{name}: {new[name].description}",
            expected=f"what the network calls so: {there[called].description}",
            fix="Give it another name with --as, or remove the old one first.",
        )


def _check_fused(fused: Fused, called: str) -> None:
    """Refuse to train what would not be heard: of a private behaviour, the teacher answers."""
    teacher = fused.teacher_of(called)
    if teacher is not None:
        raise FusionError(
            f"behaviour {called}",
            got=f"one that is kept private: teacher {teacher} answers for it",
            expected="one that the network answers itself",
            fix="Remove it first and add it then, or give the new one another name with --as.",
        )


def _measure(behaviour: Behaviour) -> tuple[Kind, str, int | None]:
    return behaviour.kind, behaviour.unit, behaviour.window_seconds


def _place(behaviours: Sequence[Behaviour], new: Behaviour) -> int:
    """Probabilities come before amounts."""
    return sum(behaviour.is_binary for behaviour in behaviours) if new.is_binary else len(behaviours)


def _nearest(network: FusedNetwork, behaviour: Behaviour, rows: Rows) -> tuple[int, float, float]:
    """The best start there is.

    Returns:
        The column whose links go most closely with the targets', up or down; slope and intercept of the line from the
        ones to the others.
    """
    wanted = rows.targets[:, 0].numpy()
    known = ~np.isnan(wanted)
    target = wanted[known].astype(np.float64)
    if behaviour.is_binary:
        target = logit(np.clip(target, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY))
    links = export.predict_links(network, rows.features.numpy())[known].astype(np.float64)
    column = int(np.argmax([_likeness(column, target) for column in links.T]))
    if _likeness(links[:, column], target) == 0.0:
        return column, 1.0, float(target.mean() - links[:, column].mean())
    slope, intercept = np.polyfit(links[:, column], target, 1)
    return column, float(slope), float(intercept)


def _likeness(links: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Size of the correlation; 0 where either never varies, as of one player."""
    if min(len(np.unique(links)), len(np.unique(targets))) < 2:
        return 0.0
    return abs(float(np.corrcoef(links, targets)[0, 1]))
