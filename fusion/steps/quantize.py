"""Quantization of what is stored: fewer bits per number. A `finetune` after it trains the rounded network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from fusion.network import LAYERS
from fusion.quantize.codebook import KMeansCodebook, PowerOfTwo
from fusion.quantize.half import Half
from fusion.quantize.uniform import Uniform
from fusion.steps.step import Family, Step, StepSpec

if TYPE_CHECKING:
    from fusion.steps.step import Told, Work

Scheme = Annotated[Uniform | KMeansCodebook | PowerOfTwo | Half, Field(discriminator="scheme")]


class Quantize(StepSpec):
    """Round the arrays of the layers; biases and the read-out, few and far-reaching, to half precision at most."""

    step: Literal["quantize"] = "quantize"
    layers: Scheme = Field(default=Uniform(), description="of the arrays of the layers")
    rest: Half | None = Field(default=Half(), description="of biases and read-out; null leaves them as they are")


def _quantize(spec: Quantize, work: Work, told: Told) -> list[str]:
    network = work.network
    layers = [weight for name in LAYERS for _, weight in network.layer(name).weights()]
    error = size = 0.0
    for weight in layers:
        array = weight.numpy()
        weight.grid = spec.layers.fit(array)
        error += float(((weight.numpy() - array) ** 2).sum())
        size += float((array**2).sum())
    if spec.rest is not None:
        inner = {id(weight) for weight in layers}
        for weight in network.weights():
            if id(weight) not in inner:
                weight.grid = spec.rest.fit(weight.numpy())
    said = spec.layers.model_dump(mode="json")
    described = ", ".join(f"{key} {value}" for key, value in said.items() if key != "scheme")
    relative = (error / size) ** 0.5 if size else 0.0
    return [f"rounded the layers: {said['scheme']} ({described}), relative error {relative:.2%}"]


QUANTIZE: Final = Step(
    name="quantize",
    family=Family.QUANTIZATION,
    spec=Quantize,
    follows=frozenset(
        {"distil", "finetune", "decompose", "prune_weights", "prune_neurons", "prune_features", "prune_ranks"}
    ),
    # Rounded arrays can be trained on; whatever works out arrays anew would lose the rounding.
    precedes=frozenset({"finetune"}),
    run=_quantize,
)
