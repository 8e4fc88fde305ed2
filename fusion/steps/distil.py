"""Training on the targets: `distil` from scratch, `finetune` from where the network is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field

from fusion.distill.hints import HintRegression, Hints
from fusion.distill.student import Student
from fusion.distill.uncertainty import UncertaintyWeights
from fusion.steps.step import Family, Step, StepSpec
from fusion.training import Schedule, train

if TYPE_CHECKING:
    from fusion.steps.step import Told, Work


class _Training(StepSpec, Schedule):
    temperature: float = Field(
        default=1.0, ge=1, le=20, description="at which teachers' probabilities are learnt; labels stay at 1"
    )
    weighting: Literal["equal", "uncertainty"] = Field(
        default="equal", description="of the behaviours, each divided by the loss of its best constant; or learnt"
    )


class Distil(_Training):
    """Learn the targets from scratch."""

    step: Literal["distil"] = "distil"
    hints: Hints | None = Field(default=None, description="from a teacher's hidden layer; `hints: {}` takes them")


class Finetune(_Training):
    """Learn on: factors together after a decomposition, what is left after pruning, the rounded after quantization."""

    step: Literal["finetune"] = "finetune"


def _distil(spec: Distil, work: Work, told: Told) -> list[str]:
    regression, hidden = None, work.training.hidden
    if spec.hints is not None and hidden is not None:
        regression = HintRegression(work.network.trunk.shape[0], hidden.shape[1], spec.hints)
    said = _train(spec, work, told, regression)
    work.training = replace(work.training, hidden=None)
    return said


def _finetune(spec: Finetune, work: Work, told: Told) -> list[str]:
    return _train(spec, work, told, None)


def _train(spec: Distil | Finetune, work: Work, told: Told, regression: HintRegression | None) -> list[str]:
    uncertainty = UncertaintyWeights(len(work.behaviours)) if spec.weighting == "uncertainty" else None
    student = Student(work.network, temperature=spec.temperature, uncertainty=uncertainty, regression=regression)
    fresh = isinstance(spec, Distil)
    train(student, work.behaviours, work.training, work.validation, spec, told, fresh=fresh)
    if uncertainty is None:
        return []
    found = zip(work.behaviours, uncertainty.weights(), strict=True)
    return [f"{spec.step}: weights by uncertainty, 1 on average: {', '.join(f'{b.name} {w:.2f}' for b, w in found)}"]


_SHRINKING: Final = frozenset(
    {"decompose", "prune_weights", "prune_neurons", "prune_features", "prune_ranks", "quantize"}
)

DISTIL: Final = Step("distil", Family.DISTILLATION, Distil, frozenset(), _SHRINKING | {"finetune"}, _distil)
FINETUNE: Final = Step(
    "finetune", Family.DISTILLATION, Finetune, _SHRINKING | {"distil", "finetune"}, _SHRINKING | {"finetune"}, _finetune
)
