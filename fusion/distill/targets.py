"""What the student is to answer: the teachers' weighted average, with the labels mixed in where they are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusion.distill.ensemble import average, by_behaviour
from fusion.distill.selection import select_weights
from fusion.distill.unlabelled import is_unlabelled, weights_by_card
from fusion.errors import FusionError
from fusion.teachers.families import FAMILIES, IMPORTED
from fusion.teachers.library import cross_fit, links_of
from fusion.telemetry.dataset import Split
from inference.contract.behaviours import from_link

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.teachers.teacher import Teacher
    from fusion.telemetry.dataset import Dataset

Told = Callable[[float, str], None]
"""Told how far a stage has come, from 0 to 1, and a word about it."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of the training and validation players, in the order of `dataset.rows(split)`.

    Attributes:
        training: (rows, behaviours) float32: a probability, or log1p of an amount.
        validation: (rows, behaviours) float32, likewise.
        taught: (training rows, behaviours) float32 links: the teachers' part of `training`.
        label_weight: (training rows, behaviours) float32: the labels' weight in it, 0 where there is no label.
        weights: behaviour → teacher → its weight in the average; teachers of weight 0 left out.
        imported: those of the teachers used that answered for the training players though they may know them: nobody
            here can train them anew without them.
        labelled: whether any label was known: if not, the weights are by the teachers' own cards.
        pseudo_rows: how many training rows, at the end, are no player's (`fusion.distill.pseudo`).
    """

    training: NDArray[np.float32]
    validation: NDArray[np.float32]
    taught: NDArray[np.float32]
    label_weight: NDArray[np.float32]
    weights: dict[str, dict[str, float]]
    imported: tuple[str, ...]
    labelled: bool
    pseudo_rows: int = 0


def make_targets(dataset: Dataset, teachers: Sequence[Teacher], *, label_share: float, told: Told) -> Targets:
    """Ask the teachers, weigh them on the validation players, mix the labels in.

    A teacher whose family learns its training rows by heart (trees) is asked out of fold (`cross_fit`), and only if its
    answers are used. An imported one is asked directly, whatever it is; and all of them are where no label is known:
    such players nobody was trained on.

    Args:
        dataset: with training and validation players.
        teachers: together they must predict every behaviour of the dataset.
        label_share: weight of the known labels against the teachers, 0 to 1.
        told: told how far this has come.

    Raises:
        FusionError: a behaviour has no teacher, or two teachers have one name.
    """
    _check_names([teacher.card.name for teacher in teachers])
    behaviours = dataset.behaviours
    validation_rows, training_rows = dataset.rows(Split.VALIDATION), dataset.rows(Split.TRAIN)
    said, labelled = {}, not is_unlabelled(dataset)
    for number, teacher in enumerate(teachers):
        told(0.3 * number / len(teachers), f"asking {teacher.card.name}")
        said[teacher.card.name] = by_behaviour(teacher, links_of(teacher, dataset, validation_rows))
    weights = {}
    for column, behaviour in enumerate(behaviours):
        names = [name for name, answers in said.items() if behaviour.name in answers]
        if not names:
            raise FusionError(
                f"teachers of {behaviour.name}",
                got="none",
                expected="at least one",
                fix="Train one, or leave the behaviour out of the dataset.",
            )
        if not labelled:
            weights[behaviour.name] = weights_by_card(behaviour.name, names, teachers)
            continue
        answers = np.stack([said[name][behaviour.name] for name in names])
        known = dataset.labels[validation_rows, column]
        found = select_weights(answers, known, dataset.player[validation_rows], behaviour)
        weights[behaviour.name] = {name: float(w) for name, w in zip(names, found, strict=True) if w > 0}
    used = [teacher for teacher in teachers if any(teacher.card.name in chosen for chosen in weights.values())]
    learnt = {}
    for number, teacher in enumerate(used):
        name, start = teacher.card.name, 0.3 + 0.7 * number / len(used)
        told(start, f"asking {name} about its own players")
        if labelled and teacher.card.family in FAMILIES and FAMILIES[teacher.card.family].memorises:
            links = cross_fit(dataset, teacher.card)
        else:
            links = links_of(teacher, dataset, training_rows)
        learnt[name] = by_behaviour(teacher, links)
    told(1.0, "targets ready")
    taught = average(learnt, weights, len(training_rows))
    return Targets(
        training=_blend(dataset, training_rows, taught, label_share),
        validation=_blend(dataset, validation_rows, average(said, weights, len(validation_rows)), label_share),
        taught=taught.astype(np.float32),
        label_weight=np.where(np.isnan(dataset.labels[training_rows]), 0.0, label_share).astype(np.float32),
        weights=weights,
        imported=tuple(teacher.card.name for teacher in used if teacher.card.family == IMPORTED),
        labelled=labelled,
    )


def _check_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FusionError(
            f"teachers called {twice[0]}",
            got=str(names.count(twice[0])),
            expected="one teacher of one name; several of one behaviour are an ensemble",
            fix="Rename one of them.",
        )


def _blend(
    dataset: Dataset, rows: NDArray[np.int64], taught: NDArray[np.float64], label_share: float
) -> NDArray[np.float32]:
    targets = np.empty(taught.shape, dtype=np.float32)
    for column, behaviour in enumerate(dataset.behaviours):
        links, labels = taught[:, column], dataset.labels[rows, column].astype(np.float64)
        answers = from_link(links, behaviour) if behaviour.is_binary else links
        known = labels if behaviour.is_binary else np.log1p(np.maximum(labels, 0.0))
        targets[:, column] = np.where(np.isnan(known), answers, (1.0 - label_share) * answers + label_share * known)
    return targets
