"""The recipes that a search may propose: forms and ranks, pruning, storage, and how the network learns meanwhile.

Every recipe starts from the same dense network (the base recipe's first step), trained once: so candidates differ only
in what is done to it. Hints, which only that step knows, are the base's to give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fusion.quantize.codebook import KMeansCodebook
from fusion.quantize.half import Half
from fusion.quantize.uniform import Uniform
from fusion.steps.decompose import Anchored, AnyStackForm, Basis, Decompose
from fusion.steps.distil import Finetune
from fusion.steps.forms import Cp, Tucker
from fusion.steps.prune import PruneFeatures, PruneNeurons
from fusion.steps.quantize import Quantize

if TYPE_CHECKING:
    import optuna

    from fusion.recipe import Recipe
    from fusion.steps.registry import AnySpec

VERSION: Final = 2
"""Of the space: what was tried in another one is another search."""

STORAGE: Final = {
    "float32": None,
    "float16": Half(),
    "uniform 8 bits": Uniform(bits=8),
    "uniform 4 bits": Uniform(bits=4),
    "k-means 4 bits": KMeansCodebook(bits=4),
}

FIRST: Final[dict[str, str | float]] = {
    "prune_features": 0.0,
    "prune_neurons": 0.0,
    "temperature": 1.0,
    "weighting": "equal",
    "input": "tucker",
    "input_hidden": 12,
    "input_bins": 4,
    "input_features": 12,
    "layers": "tucker",
    "layers_out": 6,
    "layers_trunk": 10,
    "trunk_components": 10,
    "storage": "float32",
}
"""What a search tries first: the forms and ranks of the full preset. Whatever it finds is no worse than that."""

SEARCH_EPOCHS: Final = 6
"""Of training between steps while candidates are compared; the chosen one gets the base recipe's."""


def propose(trial: optuna.Trial, base: Recipe) -> Recipe:
    """One recipe.

    Args:
        trial: of an Optuna study, which learns from the trials before it.
        base: the dense network and the schedules.
    """
    distil = base.steps[0]
    finetune = next((spec for spec in base.steps if isinstance(spec, Finetune)), Finetune(epochs=24))
    steps: list[AnySpec] = [distil]
    finetune = finetune.model_copy(
        update={
            "temperature": trial.suggest_categorical("temperature", [1.0, 2.0]),
            "weighting": trial.suggest_categorical("weighting", ["equal", "uncertainty"]),
        }
    )
    features = trial.suggest_categorical("prune_features", [0.0, 0.2, 0.4])
    if features:
        steps.append(PruneFeatures(share=features))
    neurons = trial.suggest_categorical("prune_neurons", [0.0, 0.25, 0.5])
    if neurons:
        steps.append(PruneNeurons(share=neurons))
    if features or neurons:
        steps.append(finetune.model_copy(update={"epochs": max(1, finetune.epochs // 4)}))
    steps.append(_decompose(trial))
    steps.append(finetune)
    storage = trial.suggest_categorical("storage", list(STORAGE))
    scheme = STORAGE[storage]
    if scheme is not None:
        steps.append(Quantize(layers=scheme))
        if not isinstance(scheme, Half):
            rate = finetune.learning_rate / 10
            steps.append(finetune.model_copy(update={"epochs": max(1, finetune.epochs // 6), "learning_rate": rate}))
    return base.model_copy(update={"steps": tuple(steps)})


def _decompose(trial: optuna.Trial) -> Decompose:
    def integer(name: str, low: int, high: int, step: int = 1) -> int:
        return trial.suggest_int(name, low, high, step=step)

    first: Tucker | Cp
    if trial.suggest_categorical("input", ["tucker", "cp"]) == "tucker":
        ranks = (integer("input_hidden", 8, 32, 4), integer("input_bins", 3, 8), integer("input_features", 6, 20, 2))
        first = Tucker(ranks=ranks)
    else:
        first = Cp(rank=integer("input_components", 8, 40, 4))
    trunk = Cp(rank=integer("trunk_components", 6, 24, 2))
    return Decompose(input=first, trunk=trunk, layers=_layers(trial))


def _layers(trial: optuna.Trial) -> AnyStackForm:
    form = trial.suggest_categorical("layers", ["tucker", "cp", "basis", "anchored"])
    if form == "tucker":
        out, trunk = (trial.suggest_int(*of) for of in (("layers_out", 4, 12), ("layers_trunk", 6, 18)))
        return Tucker(ranks=(None, out, trunk))
    if form == "cp":
        return Cp(rank=trial.suggest_int("layers_components", 8, 40, step=4))
    if form == "basis":
        return Basis(rank=trial.suggest_int("layers_basis", 4, 16, step=2))
    return Anchored(rank=trial.suggest_int("layers_deltas", 1, 3))


def quick(recipe: Recipe) -> Recipe:
    """The recipe with short training, for comparing."""
    steps = tuple(
        spec.model_copy(update={"epochs": min(spec.epochs, SEARCH_EPOCHS)}) if isinstance(spec, Finetune) else spec
        for spec in recipe.steps
    )
    return recipe.model_copy(update={"steps": steps})
