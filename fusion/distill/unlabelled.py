"""Players whose future is not known: teachers are trusted by what their cards say, and judged by nobody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fusion.distill.ensemble import ask
from fusion.teachers.library import best
from inference.contract.behaviours import from_link

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fusion.teachers.teacher import Teacher
    from fusion.telemetry.dataset import Dataset


def is_unlabelled(dataset: Dataset) -> bool:
    """Whether a dataset has no label at all, as rows drawn from statistics have none."""
    return bool(np.isnan(dataset.labels).all())


def weights_by_card(behaviour: str, names: Sequence[str], teachers: Sequence[Teacher]) -> dict[str, float]:
    """The teacher of the best validation quality by its own card; all alike where no card tells.

    Args:
        behaviour: what is predicted.
        names: of the teachers that predict it.
        teachers: all of them.
    """
    found = best(teachers).get(behaviour)
    return {name: 1.0 / len(names) for name in names} if found is None else {found.card.name: 1.0}


def with_outcomes(
    dataset: Dataset, teachers: Sequence[Teacher], weights: Mapping[str, Mapping[str, float]], seed: int
) -> Dataset:
    """The dataset with outcomes as its teachers expect them, for the fused network to be compared on.

    Of a probability, an outcome is drawn; an amount is the answer itself. Who answers as the teachers do is as good as
    they are, by this measure: it tells how faithful a network is, not how right.

    Args:
        dataset: without labels.
        teachers: together they predict every behaviour.
        weights: behaviour → teacher → its weight in the answer.
        seed: of the draws.
    """
    rng, rows = np.random.default_rng(seed), np.arange(len(dataset), dtype=np.int64)
    links = ask(teachers, dataset, rows, weights)
    labels = np.empty_like(dataset.labels)
    for column, behaviour in enumerate(dataset.behaviours):
        served = from_link(links[:, column], behaviour)
        labels[:, column] = rng.random(len(dataset)) < served if behaviour.is_binary else served
    return replace(dataset, labels=labels, censored=dict.fromkeys(dataset.censored, 0))
