"""What several teachers say together: the weighted average of their links."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fusion.teachers.library import links_of
from inference.contract.behaviours import from_link

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.teachers.teacher import Teacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.behaviours import Behaviour

    Weights = Mapping[str, Mapping[str, float]]
    """Behaviour → teacher → its weight."""


def by_behaviour(teacher: Teacher, links: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Behaviour → (rows,) links, of a teacher's (rows, behaviours)."""
    return {name: links[:, column] for column, name in enumerate(teacher.card.behaviour_names)}


def average(said: Mapping[str, Mapping[str, NDArray[np.float32]]], weights: Weights, rows: int) -> NDArray[np.float64]:
    """(rows, behaviours) links.

    Args:
        said: teacher → behaviour → (rows,) links.
        weights: of the teachers, with the behaviours in the order of the columns.
        rows: how many.
    """
    taught = np.zeros((rows, len(weights)))
    for column, (behaviour, chosen) in enumerate(weights.items()):
        for name, weight in chosen.items():
            taught[:, column] += weight * said[name][behaviour]
    return taught


def ask(
    teachers: Sequence[Teacher], dataset: Dataset, rows: NDArray[np.int64], weights: Weights
) -> NDArray[np.float64]:
    """(len(rows), behaviours) links: what the teachers that have a weight say of players nobody taught them."""
    used = {name for chosen in weights.values() for name in chosen}
    asked = [teacher for teacher in teachers if teacher.card.name in used]
    said = {one.card.name: by_behaviour(one, links_of(one, dataset, rows)) for one in asked}
    return average(said, weights, len(rows))


def answers(links: NDArray[np.float64], behaviours: tuple[Behaviour, ...]) -> NDArray[np.float32]:
    """(rows, behaviours) targets, a probability or log1p of an amount, of (rows, behaviours) links."""
    said = links.astype(np.float32)
    for column, behaviour in enumerate(behaviours):
        if behaviour.is_binary:
            said[:, column] = from_link(links[:, column], behaviour)
    return said
