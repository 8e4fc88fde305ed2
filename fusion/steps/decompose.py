"""Low rank: every tensor is replaced by factors with the least error in its metric, balanced for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from tensorly.base import unfold

from fusion.lowrank.allocation import allocate
from fusion.lowrank.evbmf import rank_hint
from fusion.lowrank.form import numbers
from fusion.lowrank.metric import Metric
from fusion.lowrank.refit import Drift, refit
from fusion.lowrank.sensitivity import layer_inputs, layer_statistics
from fusion.steps.forms import AnyForm, Cp, FormSpec, TensorTrain, Tucker
from fusion.steps.stack_specs import Anchored, Basis, PerModelSvd
from fusion.steps.step import Family, Step, StepSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.lowrank.sensitivity import Statistics
    from fusion.network import FusedNetwork
    from fusion.steps.step import Told, Work

__all__ = ["DECOMPOSE", "Anchored", "Basis", "Cp", "Decompose", "PerModelSvd", "TensorTrain", "Tucker"]

AnyStackForm = Annotated[Tucker | Cp | TensorTrain | Basis | PerModelSvd | Anchored, Field(discriminator="form")]
"""What the behaviours' layers can be kept in."""

_START_ENERGY: Final = 0.9999
"""Where the ranks of a budget go down from, unless the recipe says: what lies above is rounding."""


class Decompose(StepSpec):
    """Form and ranks of each tensor; null keeps it dense."""

    step: Literal["decompose"] = "decompose"
    metric: Literal["two_sided", "input", "plain"] = Field(default="two_sided", description="see docs/fusion.md")
    calibration_rows: int = Field(default=8192, ge=64, description="training rows that the metric is measured on")
    energy: float | None = Field(
        default=None, gt=0, lt=1, description="ranks that keep this share of every mode, in place of the given ones"
    )
    budget_parameters: int | None = Field(
        default=None, ge=1, description="numbers of the whole network: ranks that fit it, in place of the given ones"
    )
    refit_sweeps: int = Field(
        default=0, ge=0, le=10, description="closed-form refits of every array; 1 or 2 are enough"
    )
    input: AnyForm | None = Field(default=Tucker(ranks=(12, 4, 12)), description="modes hidden, bin, feature")
    trunk: AnyForm | None = Field(default=Cp(rank=10), description="modes trunk, hidden")
    layers: AnyStackForm | None = Field(default=Tucker(ranks=(None, 6, 10)), description="modes behaviour, out, trunk")

    @model_validator(mode="after")
    def _one_rank_per_mode(self) -> Self:
        for name, modes in (("input", 3), ("trunk", 2), ("layers", 3)):
            form = getattr(self, name)
            wanted = {"tucker": modes, "tensor_train": modes - 1}.get(form.form) if form else None
            if wanted is not None and len(form.ranks) != wanted:
                msg = f"{name}: {form.form} has {len(form.ranks)} ranks; expected {wanted}"
                raise ValueError(msg)
        return self


@dataclass(frozen=True, slots=True)
class _Part:
    """One tensor of the network, what the recipe wants of it, and in which metric."""

    name: str
    wanted: FormSpec
    tensor: NDArray[np.float64]
    statistics: Statistics
    metric: Metric


def _decompose(spec: Decompose, work: Work, told: Told) -> list[str]:
    network = work.network
    sample = np.ascontiguousarray(work.calibration(spec.calibration_rows).features.numpy())
    statistics = layer_statistics(network, sample)
    forms = {"input": spec.input, "trunk": spec.trunk, "layers": spec.layers}
    decisions = [f"{name}: kept dense, as the recipe says" for name, form in forms.items() if form is None]
    parts = [
        _Part(
            name, form, network.layer(name).tensor(), statistics[name], _metric(spec, network, name, statistics[name])
        )
        for name, form in forms.items()
        if form is not None
    ]
    chosen, reasons = _ranks(spec, network, parts, work.seed)
    before = {part.name: layer_inputs(network, part.name, sample) for part in parts if spec.refit_sweeps}
    for number, (part, form) in enumerate(zip(parts, chosen, strict=True)):
        told(number / len(parts), part.name)
        drift = None
        if spec.refit_sweeps:
            now = layer_inputs(network, part.name, sample)
            drift = Drift.between(before[part.name], now, part.statistics)
        decisions.append(f"{part.name}: {_replace(spec, work, part, form, drift)}")
    return [*decisions, *reasons]


def _metric(spec: Decompose, network: FusedNetwork, name: str, statistics: Statistics) -> Metric:
    layer = network.layer(name)
    # Every behaviour has a block of outputs of its own; all share their factors, hence one pooled metric.
    two_sided = statistics.metric(layer.shape, layer.out_modes, whole=name == "layers")
    if spec.metric == "two_sided":
        return two_sided
    if spec.metric == "plain":
        return Metric.plain(len(two_sided.roots))
    return Metric((None,) * layer.out_modes + two_sided.roots[layer.out_modes :])


def _ranks(
    spec: Decompose, network: FusedNetwork, parts: list[_Part], seed: int
) -> tuple[list[FormSpec | None], list[str]]:
    """The form of every part with its ranks, None where dense is smaller; and why."""
    if spec.energy is None and spec.budget_parameters is None:
        return [part.wanted.lowered(part.tensor.shape) for part in parts], []
    choices = [
        part.wanted.choice(part.name, part.tensor, part.metric, part.statistics.cost(part.tensor), seed)
        for part in parts
    ]
    share = spec.energy or _START_ENERGY
    ranks = [choice.by_energy(share) for choice in choices]
    reasons = [f"ranks: those that keep {share:.2%} of the spectrum of every mode"]
    if spec.budget_parameters is not None:
        fixed = network.parameter_count - sum(network.layer(part.name).kept for part in parts)
        fixed += sum(network.layer(part.name).bias.kept for part in parts)
        ranks = allocate(choices, ranks, spec.budget_parameters - fixed)
        lost = ", ".join(f"{c.name} {c.lost(r):.2%}" for c, r in zip(choices, ranks, strict=True))
        reasons = [
            f"ranks: lowered from those that keep {share:.2%} of every mode, the cheapest in error per number first, "
            f"to fit {spec.budget_parameters:,} parameters of which {fixed:,} are no tensors'; given up: {lost}"
        ]
    reasons.append(f"ranks that stand out from noise (variational Bayes, a hint only): {_hints(parts)}")
    forms = [
        part.wanted.with_slots(slots) if choice.numbers(slots) < choice.dense else None
        for part, choice, slots in zip(parts, choices, ranks, strict=True)
    ]
    return forms, reasons


def _hints(parts: list[_Part]) -> str:
    """What EVBMF makes of every mode of every tensor, in words."""

    def of(part: _Part) -> tuple[int, ...]:
        whitened = part.metric.whiten(part.tensor)
        return tuple(rank_hint(unfold(whitened, mode)) for mode in range(whitened.ndim))

    return ", ".join(f"{part.name} {of(part)}" for part in parts)


def _replace(spec: Decompose, work: Work, part: _Part, form: FormSpec | None, drift: Drift | None) -> str:
    """Put the form of a tensor in its place; what was done, in words."""
    if form is None:
        return f"kept dense: no {part.wanted.form} with the ranks that it needs is smaller"
    layer = work.network.layer(part.name)
    found, bias, refitted = form.fit(part.tensor, part.metric, work.seed), layer.bias.numpy(), ""
    kept = 1.0 - part.metric.error(part.tensor, found.to_tensor()) ** 2
    if drift is not None:
        wanted = drift.target(part.tensor, layer.out_modes)
        found, costs = refit(found, wanted, drift.statistics, layer.out_modes, spec.refit_sweeps)
        bias = drift.bias(bias, part.tensor, found.to_tensor())
        refitted = f"; refit: cost of the error {costs[0]:.3%} → {costs[-1]:.3%}"
    work.network.replace(part.name, layer.in_form(found, bias=bias))
    given = spec.energy is None and spec.budget_parameters is None
    lowered = f" (the highest possible; the recipe asks for {part.wanted.described})" if form != part.wanted else ""
    return (
        f"{form.described}{lowered if given else ''} keeps {kept:.1%} of what matters in the tensor "
        f"{part.tensor.shape}, in {numbers(found):,} instead of {part.tensor.size:,} numbers{refitted}"
    )


DECOMPOSE: Final = Step(
    name="decompose",
    family=Family.LOW_RANK,
    spec=Decompose,
    # Factors of a thinned-out tensor are full again, and those of a rounded one are no longer round.
    follows=frozenset({"distil", "finetune", "prune_neurons", "prune_features"}),
    precedes=frozenset({"finetune", "prune_weights", "prune_neurons", "prune_features", "prune_ranks", "quantize"}),
    run=_decompose,
)
