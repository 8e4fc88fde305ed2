"""Training on the targets: `distil` from scratch, `finetune` from where the network is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from fusion.distill.student import Student
from fusion.steps.step import Family, Step, StepSpec
from fusion.training import Schedule, train

if TYPE_CHECKING:
    from fusion.steps.step import Told, Work


class Distil(StepSpec, Schedule):
    """Learn the targets from scratch."""

    step: Literal["distil"] = "distil"


class Finetune(StepSpec, Schedule):
    """Learn on: factors together after a decomposition, what is left after pruning, the rounded after quantization."""

    step: Literal["finetune"] = "finetune"


def _train(spec: Distil | Finetune, work: Work, told: Told) -> list[str]:
    fresh = isinstance(spec, Distil)
    train(Student(work.network), work.behaviours, work.training, work.validation, spec, told, fresh=fresh)
    return []


_SHRINKING: Final = frozenset(
    {"decompose", "prune_weights", "prune_neurons", "prune_features", "prune_ranks", "quantize"}
)

DISTIL: Final = Step("distil", Family.DISTILLATION, Distil, frozenset(), _SHRINKING | {"finetune"}, _train)
FINETUNE: Final = Step(
    "finetune", Family.DISTILLATION, Finetune, _SHRINKING | {"distil", "finetune"}, _SHRINKING | {"finetune"}, _train
)
