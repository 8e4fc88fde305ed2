"""What a network is to learn about one behaviour, from the teachers that predict it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion import export
from fusion.distill.student import Rows
from fusion.distill.targets import make_targets
from fusion.errors import FusionError
from fusion.material import require_players
from fusion.passport import Jury
from fusion.pipeline import part
from fusion.recipe import Recipe
from fusion.teachers.alone import Alone
from fusion.telemetry.dataset import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.incremental.fused import Fused
    from fusion.pipeline import Told
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.teachers.teacher import Teacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.behaviours import Behaviour
    from inference.contract.passport import Passport


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is to be learnt about one behaviour.

    Attributes:
        dataset: with this behaviour alone.
        teachers: those that predict it.
        columns: of the dataset's features, those that the network reads.
        training: rows to learn from.
        validation: rows of other players.
        weights: name → weight of each teacher in the targets.
        jury: of test players.
    """

    dataset: Dataset
    teachers: Sequence[Teacher]
    columns: NDArray[np.int64]
    training: Rows
    validation: Rows
    weights: dict[str, float]
    jury: Jury

    @classmethod
    def prepare(
        cls, fused: Fused, name: str, called: str, dataset: Dataset, teachers: Sequence[OnnxTeacher], told: Told
    ) -> Lesson:
        """Ask the teachers about a behaviour that the network will call so.

        Raises:
            FusionError: the dataset or the teachers do not know the behaviour, a feature is missing, or there are no
                players to learn from or to judge by.
        """
        known = [behaviour.name for behaviour in dataset.behaviours]
        read = fused.saved.network.encoding.features
        missing = [feature for feature in read if feature not in dataset.feature_names]
        if name not in known or missing:
            raise FusionError(
                f"dataset {dataset.name}",
                got=f"no feature {', '.join(missing)}" if missing else f"no behaviour {name}",
                expected="all features of the network" if missing else f"one of {', '.join(known)}",
            )
        require_players(dataset)
        alone = dataset.of_behaviour(name, called)
        recipe = Recipe.model_validate(fused.artifact.passport.recipe)
        able = [Alone(teacher, name, called) for teacher in teachers if name in teacher.card.behaviour_names]
        jury = Jury(alone, able, Split.TEST)
        targets = make_targets(alone, able, label_share=recipe.label_share, told=part(told, "targets"))
        columns = np.array([dataset.feature_names.index(feature) for feature in read])

        def rows(split: Split, wanted: NDArray[np.float32]) -> Rows:
            features = np.ascontiguousarray(dataset.features[dataset.rows(split)][:, columns])
            return Rows(torch.from_numpy(features), torch.from_numpy(wanted))

        training, validation = rows(Split.TRAIN, targets.training), rows(Split.VALIDATION, targets.validation)
        return cls(alone, able, columns, training, validation, targets.weights[called], jury)

    @property
    def prior(self) -> float:
        """Mean label of the training players."""
        return float(np.nanmean(self.dataset.labels[self.dataset.rows(Split.TRAIN)].astype(np.float64)))

    def passport(self, fused: Fused, position: int, behaviours: tuple[Behaviour, ...]) -> Passport:
        """The artifact's, with this behaviour's row anew."""
        old, seed = fused.artifact.passport, fused.artifact.passport.seed
        features = np.ascontiguousarray(self.dataset.features[self.jury.rows][:, self.columns])
        links = export.predict_links(fused.saved.network, features)[:, position : position + 1]
        rows = {row.behaviour: row for row in (*old.behaviours, *self.jury.verdict(links, seed))}
        curves = {curve.behaviour: curve for curve in (*old.calibration, *self.jury.calibration(links, seed))}
        names = [behaviour.name for behaviour in behaviours]
        used = {teacher.card.name: teacher.card.onnx_sha256 for teacher in self.teachers}
        said = " + ".join(f"{weight:.2f} {teacher}" for teacher, weight in self.weights.items())
        return old.model_copy(
            update={
                "behaviours": tuple(rows[name] for name in names if name in rows),
                "calibration": tuple(curves[name] for name in names if name in curves),
                "decisions": (
                    *old.decisions,
                    f"{names[position]} was trained alone, from {said}; all else is as it was",
                ),
                "lineage": old.lineage.model_copy(update={"teachers_sha256": old.lineage.teachers_sha256 | used}),
            }
        )
