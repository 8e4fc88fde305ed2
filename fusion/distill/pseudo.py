"""Pseudo rows: players that never were, for teachers to answer about where real ones are few.

A student of few rows learns their noise. Teachers can be asked about any row, so more rows cost nothing but time
(Bucilă, Caruana & Niculescu-Mizil 2006, "Model compression"; theirs swap values with the nearest row, here any row will
do). And about rows nobody was trained on, trees can be asked directly: out of fold, it is weaker trees that answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.distill.ensemble import answers, ask
from fusion.telemetry.dataset import Split, censored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.distill.targets import Targets
    from fusion.teachers.teacher import Teacher
    from fusion.telemetry.dataset import Dataset

SWAPPED_SHARE: Final = 0.1
"""Of a row's features that come from another one: enough to be nobody, too few to be nonsense."""
MOST_PER_ROW: Final = 5
"""Pseudo rows per real one: beyond that they say the same again."""


def with_pseudo_rows(dataset: Dataset, count: int, seed: int) -> Dataset:
    """The dataset, and at its end training rows with some features swapped, each for that of another one, unlabelled.

    Args:
        dataset: with training rows.
        count: of the pseudo rows.
        seed: of the draws.
    """
    rng, real, training = np.random.default_rng(seed), len(dataset), dataset.rows(Split.TRAIN)
    kept, other = rng.choice(training, count), rng.choice(training, count)
    swapped = rng.random((count, len(dataset.feature_names))) < SWAPPED_SHARE
    found = dataset.subset(np.concatenate([np.arange(real), kept]))
    found.features[real:] = np.where(swapped, dataset.features[other], dataset.features[kept])
    found.labels[real:] = np.nan
    return replace(found, censored=censored(found.behaviours, found.labels))


def filled_up(
    dataset: Dataset, targets: Targets, teachers: Sequence[Teacher], rows: int, seed: int
) -> tuple[Dataset, Targets]:
    """Training rows and their targets, with as many pseudo rows at their end as are wanting.

    Args:
        dataset: with training rows.
        targets: of the dataset.
        teachers: that gave them. Those that read sessions one by one see the sessions of the row whose features were
            swapped.
        rows: there are to be; at most `MOST_PER_ROW` pseudo rows per real one are made.
        seed: of the draws.
    """
    real = len(targets.training)
    count = min(rows - real, MOST_PER_ROW * real)
    if count <= 0:
        return dataset, targets
    filled = with_pseudo_rows(dataset, count, seed)
    pseudo = np.arange(len(dataset), len(filled), dtype=np.int64)
    taught = ask(teachers, filled, pseudo, targets.weights)
    return filled, replace(
        targets,
        training=np.concatenate([targets.training, answers(taught, dataset.behaviours)]),
        taught=np.concatenate([targets.taught, taught.astype(np.float32)]),
        label_weight=np.concatenate([targets.label_weight, np.zeros_like(taught, dtype=np.float32)]),
        pseudo_rows=count,
    )
