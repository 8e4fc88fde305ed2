"""All steps there are, and which of them may stand in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from fusion.steps.decompose import DECOMPOSE, Decompose
from fusion.steps.distil import DISTIL, FINETUNE, Distil, Finetune
from fusion.steps.prune import (
    PRUNE_FEATURES,
    PRUNE_NEURONS,
    PRUNE_RANKS,
    PRUNE_WEIGHTS,
    PruneFeatures,
    PruneNeurons,
    PruneRanks,
    PruneWeights,
)
from fusion.steps.quantize import QUANTIZE, Quantize

if TYPE_CHECKING:
    from fusion.steps.step import AnyStep

AnySpec = Annotated[
    Distil | Finetune | Decompose | PruneWeights | PruneNeurons | PruneFeatures | PruneRanks | Quantize,
    Field(discriminator="step"),
]
"""What a recipe says about a step, told apart by its key `step`."""

STEPS: Final[Mapping[str, AnyStep]] = MappingProxyType(
    {
        step.name: step
        for step in (
            DISTIL,
            DECOMPOSE,
            PRUNE_NEURONS,
            PRUNE_FEATURES,
            PRUNE_RANKS,
            PRUNE_WEIGHTS,
            FINETUNE,
            QUANTIZE,
        )
    }
)


def check_order(names: Sequence[str]) -> None:
    """Check every pair of steps of a recipe, neighbours or not.

    Raises:
        ValueError: the first step does not train, or one stands before another that it may not precede.
    """
    if not names or names[0] != DISTIL.name:
        msg = f"the first step has to be {DISTIL.name}: the network knows nothing before"
        raise ValueError(msg)
    for earlier, later in combinations(names, 2):
        if later not in STEPS[earlier].precedes:
            allowed = ", ".join(sorted(STEPS[later].follows)) or "no step"
            msg = f"{later} may not follow {earlier}; it may follow {allowed}"
            raise ValueError(msg)
    if "prune_ranks" in names and "decompose" not in names[: names.index("prune_ranks")]:
        msg = "prune_ranks needs a decompose step before it: a dense layer has no components"
        raise ValueError(msg)
