"""Low rank: every tensor is replaced by factors with the least error in its metric, balanced for training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fusion.lowrank.layer import decomposed
from fusion.lowrank.metric import Metric
from fusion.lowrank.ranks import lowered
from fusion.lowrank.sensitivity import layer_metrics
from fusion.steps.step import Family, Step, StepSpec

if TYPE_CHECKING:
    from fusion.lowrank.ranks import Ranks
    from fusion.steps.step import Told, Work

Rank = Annotated[int, Field(ge=1)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tucker(_Form):
    """A core and one factor per mode."""

    form: Literal["tucker"] = "tucker"
    ranks: tuple[Rank | None, ...] = Field(min_length=2, max_length=3, description="one per mode; null keeps it whole")


class Cp(_Form):
    """A sum of rank-one tensors; of a matrix, its truncated singular value decomposition."""

    form: Literal["cp"] = "cp"
    rank: Rank


Form = Annotated[Tucker | Cp, Field(discriminator="form")]


class Decompose(StepSpec):
    """Form and ranks of each tensor; null keeps it dense."""

    step: Literal["decompose"] = "decompose"
    metric: Literal["two_sided", "input", "plain"] = Field(default="two_sided", description="see docs/fusion.md")
    calibration_rows: int = Field(default=8192, ge=64, description="training rows that the metric is measured on")
    input: Form | None = Field(default=Tucker(ranks=(12, 4, 12)), description="modes hidden, bin, feature")
    trunk: Form | None = Field(default=Cp(rank=10), description="modes trunk, hidden")
    layers: Form | None = Field(default=Tucker(ranks=(None, 6, 10)), description="modes behaviour, out, trunk")


def _decompose(spec: Decompose, work: Work, told: Told) -> list[str]:
    network = work.network
    sample = np.ascontiguousarray(work.calibration(spec.calibration_rows).features.numpy())
    metrics = layer_metrics(network, sample)
    decisions = []
    forms = {"input": spec.input, "trunk": spec.trunk, "layers": spec.layers}
    for number, (name, form) in enumerate(forms.items()):
        told(number / len(forms), name)
        if form is None:
            decisions.append(f"{name}: kept dense, as the recipe says")
            continue
        layer = network.layer(name)
        tensor = layer.tensor()
        wanted: Ranks = form.rank if isinstance(form, Cp) else form.ranks
        ranks = lowered(wanted, tensor.shape)
        small = decomposed(layer, ranks, _metric(spec, metrics[name], layer.out_modes), work.seed)
        network.replace(name, small)
        kept = 1.0 - metrics[name].error(tensor, small.tensor()) ** 2
        lowered_from = "" if ranks == wanted else f" (the highest possible; the recipe asks for {wanted})"
        decisions.append(
            f"{name}: {form.form} of rank {ranks}{lowered_from} keeps {kept:.1%} of what matters in the tensor "
            f"{tensor.shape}, in {small.kept - small.bias.kept:,} instead of {tensor.size:,} numbers"
        )
    return decisions


def _metric(spec: Decompose, two_sided: Metric, out_modes: int) -> Metric:
    if spec.metric == "two_sided":
        return two_sided
    if spec.metric == "plain":
        return Metric.plain(len(two_sided.roots))
    return Metric((None,) * out_modes + two_sided.roots[out_modes:])


DECOMPOSE: Final = Step(
    name="decompose",
    family=Family.LOW_RANK,
    spec=Decompose,
    # Factors of a thinned-out tensor are full again, and those of a rounded one are no longer round.
    follows=frozenset({"distil", "finetune", "prune_neurons", "prune_features"}),
    precedes=frozenset({"finetune", "prune_weights", "prune_neurons", "prune_features", "prune_ranks", "quantize"}),
    run=_decompose,
)
