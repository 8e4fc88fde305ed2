"""What every network of one fusion starts from: the players, the teachers, and the targets they agreed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from fusion.branch import served_features
from fusion.distill.hints import guides, hint
from fusion.distill.pseudo import filled_up
from fusion.distill.student import Rows
from fusion.distill.targets import Targets, make_targets
from fusion.distill.unlabelled import with_outcomes
from fusion.encoding import PiecewiseLinearEncoding
from fusion.lowrank.start import start_from
from fusion.network import FusedNetwork, Widths
from fusion.steps.distil import Distil
from fusion.steps.step import Work
from fusion.teachers.library import whole_players
from fusion.teachers.reading import read_network
from fusion.telemetry.dataset import Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.distill.hints import Hints
    from fusion.recipe import Recipe
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset

_START_ROWS: Final = 4096
"""Training rows that teachers' neurons are compared on."""


@dataclass(frozen=True, slots=True)
class Material:
    """Made once, however many networks are trained on it.

    Attributes:
        dataset: with no more training rows than the recipe wants, and pseudo rows where it wants more; one without
            labels has outcomes as the teachers expect them.
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
            recipe: of which only what concerns the targets is looked at: seed, training_rows,
                least_training_rows, label_share, and whether there are hints to be given.
            told: told how far this has come.

        Raises:
            FusionError: a behaviour has no teacher, two teachers have one name, no teacher can give the hints that the
                recipe wants, or there are no players to learn from or to judge by.
        """
        require_players(dataset)
        wanted = _hints(recipe)
        if wanted is not None:
            guides(teachers, wanted)
        training = dataset.rows(Split.TRAIN)
        kept = whole_players(training, dataset.player, recipe.training_rows, recipe.seed)
        if len(kept) < len(training):
            dataset = dataset.subset(np.union1d(kept, np.flatnonzero(dataset.split != Split.TRAIN)))
        targets = make_targets(dataset, teachers, label_share=recipe.label_share, told=told)
        if targets.labelled:
            dataset, targets = filled_up(dataset, targets, teachers, recipe.least_training_rows, recipe.seed)
        else:
            dataset = with_outcomes(dataset, teachers, targets.weights, recipe.seed)
        return cls(dataset, teachers, targets)

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

        def features(split: Split) -> Tensor:
            return torch.from_numpy(self.features(split, columns))

        targets, decisions = self.targets, []
        hints, hidden = _hints(recipe), None
        if hints is not None:
            found, said = hint(self.teachers, hints, targets.weights, self.dataset, self.dataset.rows(Split.TRAIN))
            hidden = torch.from_numpy(found)
            decisions.append(said)
        work = Work(
            network=FusedNetwork(encoding, len(self.dataset.behaviours), widths, recipe.seed),
            columns=columns,
            behaviours=self.dataset.behaviours,
            training=Rows(
                features(Split.TRAIN),
                torch.from_numpy(targets.training),
                torch.from_numpy(targets.taught),
                torch.from_numpy(targets.label_weight),
                hidden,
            ),
            validation=Rows(features(Split.VALIDATION), torch.from_numpy(targets.validation)),
            seed=recipe.seed,
        )
        if sizes.start == "teachers":
            networks = [read_network(teacher) for teacher in self.teachers if teacher.card.family == "mlp"]
            decisions += start_from(work.network, networks, work.calibration(_START_ROWS).features.numpy())
        work.decisions = tuple(decisions)
        return work

    def of_behaviour(self, name: str) -> Material:
        """What there is to learn about one behaviour; what its teachers know is in the targets, they are left out."""
        column = list(self.targets.weights).index(name)

        def own(array: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.ascontiguousarray(array[:, column : column + 1])

        targets = replace(
            self.targets,
            training=own(self.targets.training),
            validation=own(self.targets.validation),
            taught=own(self.targets.taught),
            label_weight=own(self.targets.label_weight),
            weights={name: self.targets.weights[name]},
        )
        return Material(self.dataset.of_behaviour(name), (), targets)

    def served_columns(self, work: Work) -> NDArray[np.int64]:
        """Of the dataset's features, those that the served graph reads: the network's, then those of branches alone."""
        names = self.dataset.feature_names
        return np.array([names.index(name) for name in served_features(work.network, work.branches)], dtype=np.int64)

    def features(self, split: Split, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows of the split, columns) features, as a network reads them."""
        return np.ascontiguousarray(self.dataset.features[self.dataset.rows(split)][:, columns])


def require_players(dataset: Dataset) -> None:
    """Refuse to begin without players to learn from or to judge by.

    Raises:
        FusionError: there are none.
    """
    for players, split in (("training", Split.TRAIN), ("validation", Split.VALIDATION), ("test", Split.TEST)):
        dataset.require(dataset.rows(split), players)


def _hints(recipe: Recipe) -> Hints | None:
    return next((spec.hints for spec in recipe.steps if isinstance(spec, Distil)), None)
