"""The network that is served: encoded features → wide shared trunk of low rank → one small layer per behaviour.

    features (rows, features), NaN where missing
      → piecewise-linear encoding           (rows, bins · features)
      → input layer, tensor (hidden, bin, feature), ReLU
      → trunk layer, matrix (trunk, hidden), ReLU
      → behaviour layers, tensor (behaviour, out, trunk), ReLU
      → one read-out vector per behaviour   (rows, behaviours), link scale

Every tensor starts dense and is replaced by its low-rank form in place (`LowRankLayer`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fusion.lowrank.layer import LowRankLayer
from fusion.prune.unit import Slice, Units
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fusion.encoding import PiecewiseLinearEncoding


LAYERS: Final = ("input", "trunk", "layers")
"""Names of the layers whose weights are tensors, from the features to the behaviours."""
ENCODING: Final = "encoding"
READOUT: Final = "readout"
"""What comes before the layers, and after them."""


class Widths(NamedTuple):
    """Units per layer."""

    hidden: int
    trunk: int
    behaviour: int


class FusedNetwork(nn.Module):
    """See the module's docstring.

    Args:
        encoding: knots and medians, fixed.
        behaviours: how many.
        widths: units per layer.
        seed: of the initial weights.
    """

    def __init__(self, encoding: PiecewiseLinearEncoding, behaviours: int, widths: Widths, seed: int) -> None:
        super().__init__()
        self.behaviours = behaviours
        self._encode_by(encoding)
        draw = np.random.default_rng(seed)

        def he(*shape: int, fan_in: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
            return draw.normal(0.0, (2.0 / fan_in) ** 0.5, shape)

        features = len(encoding.features)
        # Half of the bins are full on average, so an encoded feature counts as about a third of its bins.
        fan_in = max(1, encoding.bins * features // 3)
        self.input = LowRankLayer(he(widths.hidden, encoding.bins, features, fan_in=fan_in), out_modes=1)
        self.trunk = LowRankLayer(he(widths.trunk, widths.hidden, fan_in=widths.hidden), out_modes=1)
        self.layers = LowRankLayer(he(behaviours, widths.behaviour, widths.trunk, fan_in=widths.trunk), out_modes=2)
        self.readout = Weight(he(behaviours, widths.behaviour, fan_in=2 * widths.behaviour))
        self.readout_bias = Weight(np.zeros(behaviours))

    def encode(self, features: Tensor) -> Tensor:
        """(rows, features) with NaN where missing → (rows, bins * features)."""
        known = torch.where(torch.isnan(features), self.medians, features)
        return ((known[:, None, :] - self.lower) * self.slope).clamp_(0.0, 1.0).flatten(1)

    def forward(self, features: Tensor) -> Tensor:
        """(rows, features) with NaN where missing → (rows, behaviours) on the link scale."""
        return self.read_out(self.shared(features))

    def shared(self, features: Tensor) -> Tensor:
        """(rows, features) with NaN where missing → (rows, trunk), what all behaviours read."""
        hidden = torch.relu(self.input(self.encode(features)))
        return torch.relu(self.trunk(hidden))

    def read_out(self, trunk: Tensor) -> Tensor:
        """(rows, trunk) → (rows, behaviours) on the link scale."""
        own = torch.relu(self.layers(trunk)).reshape(len(trunk), self.behaviours, -1)
        links: Tensor = (own * self.readout()).sum(dim=2) + self.readout_bias()
        return links

    @property
    def parameter_count(self) -> int:
        """Every number the network stores, the knots of the encoding included."""
        return sum(self.parameters_by_layer().values())

    def parameters_by_layer(self) -> dict[str, int]:
        """Name of each part, encoding and read-out included → numbers it stores."""
        return {
            ENCODING: self.encoding.parameter_count,
            **{name: self.layer(name).kept for name in LAYERS},
            READOUT: self.readout.kept + self.readout_bias.kept,
        }

    def layer(self, name: str) -> LowRankLayer:
        """One of `LAYERS`."""
        layer = getattr(self, name)
        assert isinstance(layer, LowRankLayer)
        return layer

    @property
    def has_integers(self) -> bool:
        """Whether a layer is carried out in integers."""
        return any(self.layer(name).integer is not None for name in LAYERS)

    def replace(self, name: str, layer: LowRankLayer) -> None:
        """Put another form of a layer in its place."""
        setattr(self, name, layer)

    def weights(self) -> Iterator[Weight]:
        """Every array that is trained."""
        return (module for module in self.modules() if isinstance(module, Weight))

    def neurons(self) -> tuple[Units, ...]:
        """The units between the layers, that pruning may remove."""
        # What a unit puts out comes from its weights and its bias together.
        own = ((self.readout, 1),), ((*self.layers.mode_slices(1), (self.layers.bias, 1)),)
        return (
            Units("hidden units", self.trunk.mode_slices(1), ((*self.input.mode_slices(0), (self.input.bias, 0)),)),
            Units("trunk units", self.layers.mode_slices(2), ((*self.trunk.mode_slices(0), (self.trunk.bias, 0)),)),
            Units("behaviour units", *own),
        )

    def channels(self) -> Units:
        """The features, each with all of its bins."""
        return Units("features", self.input.mode_slices(2), ())

    def components(self) -> tuple[Units, ...]:
        """The components of every decomposed layer."""
        return tuple(units for name in LAYERS for units in self.layer(name).components(name))

    def keep(self, units: Units, index: NDArray[np.int64]) -> None:
        """Remove all units but some: features are no longer read, arrays get smaller."""
        units.keep(index)
        if units.name == self.channels().name:
            self._encode_by(self.encoding.select(index))
        for name in LAYERS:
            self.layer(name).replan()

    def behaviour_slices(self) -> tuple[Slice, ...]:
        """What a behaviour owns alone: the arrays, and the axes along which the behaviours lie."""
        return (*self.layers.mode_slices(0), (self.layers.bias, 0), (self.readout, 0), (self.readout_bias, 0))

    def keep_behaviours(self, index: NDArray[np.int64]) -> None:
        """Predict some of the behaviours only; every other array keeps its numbers."""
        for weight, axis in self.behaviour_slices():
            weight.plain()
            weight.select(axis, index)
        self._recount(index)

    def add_behaviour(self, position: int, like: int) -> None:
        """Predict one behaviour more, at a column of its own: at first the same as another one."""
        for weight, axis in self.behaviour_slices():
            weight.plain()
            weight.insert(axis, position, like)
        self._recount(np.insert(np.arange(self.behaviours), position, like))

    @torch.no_grad()
    def signals(self, features: Tensor) -> dict[str, NDArray[np.float64]]:
        """Name of units → (units,) root mean square, over the rows, of what each neuron or feature puts out."""
        encoded = self.encode(features)
        hidden = torch.relu(self.input(encoded))
        trunk = torch.relu(self.trunk(hidden))
        own = torch.relu(self.layers(trunk)).reshape(len(trunk) * self.behaviours, -1)
        by_feature = encoded.reshape(-1, len(self.encoding.features))
        names = (*(units.name for units in self.neurons()), self.channels().name)
        values = (hidden, trunk, own, by_feature)
        return {
            name: np.asarray(value.double().square().mean(dim=0).sqrt().numpy())
            for name, value in zip(names, values, strict=True)
        }

    def _recount(self, before: NDArray[np.int64]) -> None:
        """Note which behaviour each one was before."""
        self.behaviours = len(before)
        self.layers.rearrange(before)

    def _encode_by(self, encoding: PiecewiseLinearEncoding) -> None:
        self.encoding = encoding
        self.medians, self.lower, self.slope = map(torch.from_numpy, (encoding.medians, encoding.lower, encoding.slope))
