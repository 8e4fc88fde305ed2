"""Quantization: fewer bits per number in the file and, on demand, products of integers.

A `finetune` after it trains the rounded network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from fusion.network import LAYERS
from fusion.quantize.codebook import KMeansCodebook, PowerOfTwo
from fusion.quantize.half import Half
from fusion.quantize.static import Activations, quantize_products
from fusion.quantize.uniform import Uniform
from fusion.steps.step import Family, Step, StepSpec

if TYPE_CHECKING:
    from fusion.network import FusedNetwork
    from fusion.steps.step import Told, Work
    from fusion.weight import Weight

Scheme = Annotated[Uniform | KMeansCodebook | PowerOfTwo | Half, Field(discriminator="scheme")]


class Quantize(StepSpec):
    """Round the arrays of the layers; biases and the read-out, few and far-reaching, to half precision at most."""

    step: Literal["quantize"] = "quantize"
    layers: Scheme = Field(default=Uniform(), description="of the arrays of the layers")
    rest: Half | None = Field(default=Half(), description="of biases and read-out; null leaves them as they are")
    activations: Activations | None = Field(
        default=None, description="8 bits for what the layers read, so that their products are integers; null: float32"
    )

    @model_validator(mode="after")
    def _integers_are_symmetric(self) -> Self:
        needed = {"scheme": "uniform", "bits": 8, "per_channel": True, "symmetric": True}
        if self.activations is not None and not needed.items() <= self.layers.model_dump().items():
            msg = f"activations need layers: {needed}, which is what products of integers take"
            raise ValueError(msg)
        return self


def _quantize(spec: Quantize, work: Work, told: Told) -> list[str]:
    decisions = _layers(spec.layers, work.network) if spec.activations is None else _products(spec, work)
    if spec.rest is not None:
        inner = {id(weight) for weight in _arrays(work.network)}
        for weight in work.network.weights():
            if id(weight) not in inner:
                weight.grid = spec.rest.fit(weight.numpy())
    return decisions


def _arrays(network: FusedNetwork) -> list[Weight]:
    return [weight for name in LAYERS for _, weight in network.layer(name).weights()]


def _layers(scheme: Scheme, network: FusedNetwork) -> list[str]:
    error = size = 0.0
    for weight in _arrays(network):
        array = weight.numpy()
        weight.grid = scheme.fit(array)
        error += float(((weight.numpy() - array) ** 2).sum())
        size += float((array**2).sum())
    said = scheme.model_dump(mode="json")
    described = ", ".join(f"{key} {value}" for key, value in said.items() if key != "scheme")
    relative = (error / size) ** 0.5 if size else 0.0
    return [f"rounded the layers: {said['scheme']} ({described}), relative error {relative:.2%}"]


def _products(spec: Quantize, work: Work) -> list[str]:
    assert isinstance(spec.layers, Uniform)
    assert spec.activations is not None
    rows = spec.activations.rows
    training = work.calibration(rows).features
    validation = work.validation.features[:: max(1, len(work.validation) // rows)]
    return quantize_products(work.network, training, validation, spec.layers, spec.activations)


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
