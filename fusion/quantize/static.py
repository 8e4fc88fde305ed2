"""Post-training static quantization of activations: ranges are measured once, on training players [Krishnamoorthi 2018,
arXiv:1806.08342].

Layer by layer, on what the layers before it put out in integers already. The read-out, few numbers and far-reaching,
stays float32.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

import torch
from pydantic import BaseModel, ConfigDict, Field

from fusion.errors import FusionError
from fusion.network import LAYERS
from fusion.quantize.integer import ActivationGrid, IntegerProduct
from fusion.quantize.saturation import saturates
from fusion.quantize.uniform import Range, Uniform

if TYPE_CHECKING:
    from torch import Tensor

    from fusion.network import FusedNetwork

_LEAST_ROWS: Final = 256
"""Of n players, the next one is beyond the range of an activation with probability 2 / (n + 1)."""


class Activations(BaseModel):
    """How activations are rounded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    range: Range = Range.MSE
    rows: int = Field(default=2048, ge=_LEAST_ROWS, description="training rows that the ranges are measured on")


def quantize_products(
    network: FusedNetwork, training: Tensor, validation: Tensor, weights: Uniform, activations: Activations
) -> list[str]:
    """Let the products of all layers be carried out in integers, in place.

    Args:
        network: trained; every matrix of a layer becomes one stored array.
        training: (rows, features) that ranges are measured on.
        validation: (rows, features) of other players, to say what lies outside.
        weights: range and `reduce_range` of the weights; 8 bits, symmetric, a step per output.
        activations: range of the activations.

    Returns:
        What was decided and why, in sentences.

    Raises:
        FusionError: there are too few training rows, or a layer has holes that would be filled.
    """
    if len(training) < _LEAST_ROWS:
        raise FusionError(
            "quantize: activations",
            got=f"{len(training):,} training rows to calibrate on",
            expected=f"at least {_LEAST_ROWS}: the ranges of fewer say little about other players",
            fix="Fuse on more players, or leave activations out.",
        )
    for name in LAYERS:
        network.replace(name, network.layer(name).multiplied())
    reduced = saturates() if weights.reduce_range == "auto" else weights.reduce_range
    outside = _calibrate(network, training, validation, weights.range, activations.range, reduced=reduced)
    found = "saturate" if saturates() else "do not saturate"
    return [
        f"products of integers: int8 weights (range {weights.range}, a step per output), uint8 activations (range "
        f"{activations.range} of {len(training):,} training rows; of what validation players give, {outside:.2%} is "
        "cut off); the read-out stays float32",
        f"reduce_range {str(weights.reduce_range).lower()}: full int8 products {found} on this machine; weights have "
        f"{7 if reduced else 8} bits",
    ]


@torch.no_grad()
def _calibrate(
    network: FusedNetwork, training: Tensor, validation: Tensor, of_weights: Range, of_values: Range, *, reduced: bool
) -> float:
    """Fit and set the products of every layer; the share of the validation rows' activations that is cut off."""
    value = network.encode(torch.cat((training, validation)))
    chain: list[IntegerProduct] = []
    cut = count = 0
    for name in LAYERS:
        layer = network.layer(name)
        *before, last = layer.matrices()
        for matrix, bias in (*((matrix, None) for matrix in before), (last, layer.bias().flatten())):
            grid = ActivationGrid.fit(value[: len(training)].numpy(), of_values)
            others = value[len(training) :]
            cut += int(((others - grid.clipped(others)).abs() > grid.step / 2).sum())
            count += others.numel()
            if chain:
                chain[-1] = replace(chain[-1], outputs=grid)
            offset = None if bias is None else bias.numpy()
            chain.append(IntegerProduct.fit(grid, matrix.numpy(), offset, reach=of_weights, reduced=reduced))
            value = chain[-1](value, matrix, bias)
        value = torch.relu(value)
    products = iter(chain)
    for name in LAYERS:
        layer = network.layer(name)
        layer.integer = tuple(islice(products, len(layer.products)))
    return cut / max(count, 1)
