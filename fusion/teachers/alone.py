"""One behaviour of a teacher that predicts several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.teachers.teacher import Teacher, TeacherCard


class Alone:
    """A `Teacher` of one behaviour only.

    Args:
        teacher: asked about all.
        behaviour: its name.
        called: another name for it, as of one region's.
    """

    def __init__(self, teacher: Teacher, behaviour: str, called: str | None = None) -> None:
        self._teacher = teacher
        self._column = teacher.card.behaviour_names.index(behaviour)
        card = teacher.card
        called = called or behaviour
        known = card.validation_quality
        quality = {called: known[behaviour]} if behaviour in known else {}
        one = (card.behaviours[self._column].model_copy(update={"name": called}),)
        self._card = card.model_copy(update={"behaviours": one, "validation_quality": quality})

    @property
    def card(self) -> TeacherCard:
        """The teacher's, of this behaviour."""
        return self._card

    def links(self, features: NDArray[np.float32], sequences: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """(rows, 1); see `fusion.teachers.teacher.Teacher.links`."""
        answers = self._teacher.links(features, sequences)
        return np.ascontiguousarray(answers[:, self._column : self._column + 1])
