"""Pruning: single numbers (`prune_weights`), neurons, features (the channels of the input tensor), components.

Numbers that are pruned alone leave holes: the file shrinks, the arithmetic does not. Whole units leave smaller arrays:
both shrink. The share grows over several rounds by a cubic law, with training in between [Zhu and Gupta 2017,
arXiv:1710.01878].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from pydantic import Field, field_validator

from fusion.distill.student import Student
from fusion.errors import FusionError
from fusion.network import LAYERS
from fusion.prune.criteria import Criterion, unit_scores, weight_scores
from fusion.steps.step import Family, Step, StepSpec
from fusion.training import Schedule, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fusion.prune.unit import Units
    from fusion.steps.step import Told, Work
    from fusion.weight import Weight


class _Prune(StepSpec):
    share: float = Field(gt=0, lt=1, description="of the numbers, or of the units of each kind, to remove")
    criterion: Criterion = Field(default=Criterion.TAYLOR, description="what is worth keeping")
    rounds: int = Field(default=1, ge=1, description="in which the share is reached, training in between")
    between: Schedule = Schedule(epochs=2, learning_rate=1e-3)
    calibration_rows: int = Field(default=8192, ge=64, description="training rows that worth is judged on")

    def shares(self) -> Iterator[tuple[int, float]]:
        """Number of each round, and the share that is gone after it."""
        for number in range(1, self.rounds + 1):
            yield number, self.share * (1.0 - (1.0 - number / self.rounds) ** 3)


class _PruneParts(_Prune):
    @field_validator("criterion")
    @classmethod
    def _of_their_own(cls, criterion: Criterion) -> Criterion:
        if criterion is Criterion.ACTIVATION:
            msg = "activation; expected magnitude or taylor: parts of a matrix have no activation of their own"
            raise ValueError(msg)
        return criterion


class PruneWeights(_PruneParts):
    """Remove single numbers, over all layers alike."""

    step: Literal["prune_weights"] = "prune_weights"


class PruneNeurons(_Prune):
    """Remove units of the hidden, trunk and behaviour layers."""

    step: Literal["prune_neurons"] = "prune_neurons"


class PruneFeatures(_Prune):
    """Remove features: they need no longer be computed or sent."""

    step: Literal["prune_features"] = "prune_features"


class PruneRanks(_PruneParts):
    """Remove components of the decomposed layers."""

    step: Literal["prune_ranks"] = "prune_ranks"


def _in_rounds(spec: _Prune, work: Work, told: Told, prune: Callable[[float], None]) -> None:
    for number, share in spec.shares():
        prune(share)
        if number < spec.rounds:
            part = (number - 1) / (spec.rounds - 1)
            train(
                Student(work.network),
                work.behaviours,
                work.training,
                work.validation,
                spec.between,
                lambda done, note, part=part: told(part + done / (spec.rounds - 1), note),  # type: ignore[misc]
                fresh=False,
            )


def _prune_weights(spec: PruneWeights, work: Work, told: Told) -> list[str]:
    # Biases and the read-out are few and reach far: they stay.
    weights: list[Weight] = [weight for name in LAYERS for _, weight in work.network.layer(name).weights()]

    def prune(share: float) -> None:
        scores = weight_scores(work, weights, spec.criterion, spec.calibration_rows)
        # What is gone stays gone. And a number, no threshold: where many are worth nothing at all, they are alike.
        every = np.concatenate(
            [
                np.where(weight.mask.numpy() == 0, -1.0, score).ravel() if weight.mask is not None else score.ravel()
                for weight, score in zip(weights, scores, strict=True)
            ]
        )
        kept = np.ones(every.size, dtype=np.float32)
        kept[np.argsort(every, kind="stable")[: int(share * every.size)]] = 0.0
        parts = np.split(kept, np.cumsum([score.size for score in scores])[:-1])
        for weight, score, part in zip(weights, scores, parts, strict=True):
            weight.mask = torch.from_numpy(part.reshape(score.shape))

    before = sum(weight.kept for weight in weights)
    _in_rounds(spec, work, told, prune)
    kept = sum(weight.kept for weight in weights)
    return [f"pruned numbers by {spec.criterion}: {kept:,} of {before:,} kept"]


def _prune_neurons(spec: PruneNeurons, work: Work, told: Told) -> list[str]:
    return _prune_units(spec, work, told, work.network.neurons)


def _prune_ranks(spec: PruneRanks, work: Work, told: Told) -> list[str]:
    if not work.network.components():
        raise FusionError("prune_ranks", got="no decomposed layer", expected="at least one: not all kept dense")
    return _prune_units(spec, work, told, work.network.components)


def _prune_features(spec: PruneFeatures, work: Work, told: Told) -> list[str]:
    before = work.network.encoding.features
    decisions = _prune_units(spec, work, told, lambda: (work.network.channels(),))
    gone = [name for name in before if name not in work.network.encoding.features]
    return [*decisions, f"features that are read no more: {', '.join(gone) or 'none'}"]


def _prune_units(spec: _Prune, work: Work, told: Told, groups: Callable[[], tuple[Units, ...]]) -> list[str]:
    before = {units.name: units.count for units in groups()}

    def prune(share: float) -> None:
        scores = unit_scores(work, groups(), spec.criterion, spec.calibration_rows)
        for units, score in zip(groups(), scores, strict=True):
            count = max(1, round((1.0 - share) * before[units.name]))
            index = np.sort(np.argsort(-score, kind="stable")[:count])
            work.network.keep(units, index)
            if units.name == "features":
                work.keep_features(index)

    _in_rounds(spec, work, told, prune)
    return [
        f"pruned {units.name} by {spec.criterion}: {units.count} of {before[units.name]} kept" for units in groups()
    ]


_TRAINING: Final = frozenset({"distil", "finetune"})
_STRUCTURED: Final = frozenset({"prune_neurons", "prune_features", "prune_ranks"})

PRUNE_WEIGHTS: Final = Step(
    name="prune_weights",
    family=Family.PRUNING,
    spec=PruneWeights,
    follows=_TRAINING | _STRUCTURED | {"decompose"},
    # Whatever works out arrays anew would fill the holes.
    precedes=frozenset({"finetune", "quantize"}),
    run=_prune_weights,
)
PRUNE_NEURONS: Final = Step(
    name="prune_neurons",
    family=Family.PRUNING,
    spec=PruneNeurons,
    follows=_TRAINING | _STRUCTURED | {"decompose"},
    precedes=_STRUCTURED | {"finetune", "decompose", "prune_weights", "quantize"},
    run=_prune_neurons,
)
PRUNE_FEATURES: Final = Step(
    name="prune_features",
    family=Family.PRUNING,
    spec=PruneFeatures,
    follows=_TRAINING | _STRUCTURED | {"decompose"},
    precedes=_STRUCTURED | {"finetune", "decompose", "prune_weights", "quantize"},
    run=_prune_features,
)
PRUNE_RANKS: Final = Step(
    name="prune_ranks",
    family=Family.PRUNING,
    spec=PruneRanks,
    # Without a decomposition before it there are no components.
    follows=_TRAINING | _STRUCTURED | {"decompose"},
    precedes=_STRUCTURED | {"finetune", "prune_weights", "quantize"},
    run=_prune_ranks,
)
