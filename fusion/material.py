"""What every network of one fusion starts from: the players, the teachers, and the targets they agreed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fusion.distill.student import Rows
from fusion.distill.targets import Targets, make_targets
from fusion.encoding import PiecewiseLinearEncoding
from fusion.lowrank.start import start_from
from fusion.network import FusedNetwork, Widths
from fusion.steps.step import Work
from fusion.teachers.library import whole_players
from fusion.teachers.reading import read_network
from fusion.telemetry.dataset import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.recipe import Recipe
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset

_START_ROWS: Final = 4096
"""Training rows that teachers' neurons are compared on."""


@dataclass(frozen=True, slots=True)
class Material:
    """Made once, however many networks are trained on it.

    Attributes:
        dataset: with no more training rows than the recipe wants.
        teachers: together they predict every behaviour of the dataset.
        targets: what a network is to learn.
    """

    dataset: Dataset
    teachers: Sequence[OnnxTeacher]
    targets: Targets

    @classmethod
    def prepare(
        cls, dataset: Dataset, teachers: Sequence[OnnxTeacher], recipe: Recipe, told: Callable[[float, str], None]
    ) -> Material:
        """Ask the teachers about the players.

        Args:
            dataset: that the teachers were trained on.
            teachers: all of them.
            recipe: of which only what concerns the targets is looked at: seed, training_rows, label_share.
            told: told how far this has come.

        Raises:
            FusionError: a behaviour has no teacher.
        """
        training = dataset.rows(Split.TRAIN)
        kept = whole_players(training, dataset.player, recipe.training_rows, recipe.seed)
        if len(kept) < len(training):
            dataset = dataset.subset(np.union1d(kept, np.flatnonzero(dataset.split != Split.TRAIN)))
        return cls(dataset, teachers, make_targets(dataset, teachers, label_share=recipe.label_share, told=told))

    def encoding(self, bins: int) -> PiecewiseLinearEncoding:
        """Of every feature that varies among the training players."""
        rows = self.dataset.rows(Split.TRAIN)
        return PiecewiseLinearEncoding.fit(self.dataset.features[rows], self.dataset.feature_names, bins)

    def start(self, recipe: Recipe, encoding: PiecewiseLinearEncoding | None = None) -> Work:
        """The network before the first step, and the rows it is to learn from; an encoding that is there is used."""
        names, sizes = self.dataset.feature_names, recipe.network
        encoding = encoding or self.encoding(sizes.bins)
        columns = np.array([names.index(name) for name in encoding.features], dtype=np.int64)
        widths = Widths(sizes.hidden, sizes.trunk, sizes.behaviour)

        def examples(split: Split, wanted: NDArray[np.float32]) -> Rows:
            return Rows(torch.from_numpy(self.features(split, columns)), torch.from_numpy(wanted))

        work = Work(
            network=FusedNetwork(encoding, len(self.dataset.behaviours), widths, recipe.seed),
            columns=columns,
            behaviours=self.dataset.behaviours,
            training=examples(Split.TRAIN, self.targets.training),
            validation=examples(Split.VALIDATION, self.targets.validation),
            seed=recipe.seed,
        )
        if sizes.start == "teachers":
            networks = [read_network(teacher) for teacher in self.teachers if teacher.card.family == "mlp"]
            work.decisions = tuple(start_from(work.network, networks, work.calibration(_START_ROWS).features.numpy()))
        return work

    def of_behaviour(self, name: str) -> Material:
        """What there is to learn about one behaviour; what its teachers know is in the targets, they are left out."""
        column = list(self.targets.weights).index(name)
        targets = replace(
            self.targets,
            training=np.ascontiguousarray(self.targets.training[:, column : column + 1]),
            validation=np.ascontiguousarray(self.targets.validation[:, column : column + 1]),
            weights={name: self.targets.weights[name]},
        )
        return Material(self.dataset.of_behaviour(name), (), targets)

    def features(self, split: Split, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows of the split, columns) features, as a network reads them."""
        return np.ascontiguousarray(self.dataset.features[self.dataset.rows(split)][:, columns])
