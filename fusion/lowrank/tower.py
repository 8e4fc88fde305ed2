"""The low-rank twin of a torch teacher: the same network, every weight a tensor in some form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusion.lowrank.convolutional import LowRankTcn
from fusion.lowrank.layer import LowRankLayer
from fusion.lowrank.recurrent import LowRankGru
from fusion.lowrank.sensitivity import Statistics, measure
from fusion.teachers.gru import GruEncoder
from fusion.teachers.network import GraphLearner, array
from fusion.teachers.tcn import TcnEncoder
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph
    from fusion.prune.unit import Units
    from fusion.teachers.examples import Examples
    from fusion.teachers.network import Network

_STATE = "state"


class LowRankTower(GraphLearner):
    """Features, and the encoded sequence where there is an encoder, through ReLU layers to one link per behaviour.

    What the first layer reads of the sequence and of the features are two tensors: they have nothing in common.

    Args:
        layers: of matrices (out, in), from the features to the links.
        encoder: of the sequences.
        state: the first layer's other half, which reads the encoded sequence; its bias stays zero.
    """

    def __init__(
        self, layers: list[LowRankLayer], encoder: LowRankGru | LowRankTcn | None, state: LowRankLayer | None
    ) -> None:
        super().__init__()
        self.dense = nn.ModuleList(layers)
        self.encoder, self.state = encoder, state

    @classmethod
    def from_network(cls, network: Network) -> LowRankTower:
        """The same network, dense."""
        width = network.encoder.width if network.encoder else 0
        layers, state = [], None
        for number, layer in enumerate([*network.hidden, network.output]):
            weight, bias = array(layer.weight).astype(np.float64), array(layer.bias)
            if number == 0 and width:
                state = LowRankLayer(weight[:, :width], out_modes=1)
                state.bias.array.requires_grad_(False)
                weight = weight[:, width:]
            layers.append(LowRankLayer(weight, out_modes=1, bias=bias))
        encoder: LowRankGru | LowRankTcn | None = None
        if isinstance(network.encoder, GruEncoder):
            encoder = LowRankGru.from_encoder(network.encoder)
        elif isinstance(network.encoder, TcnEncoder):
            encoder = LowRankTcn.from_encoder(network.encoder)
        return cls(layers, encoder, state)

    @property
    def output_bias(self) -> nn.Parameter:
        """(behaviours,) bias of the last layer."""
        return self._dense()[-1].bias.array

    @property
    def parameter_count(self) -> int:
        """Numbers stored."""
        unused = self.state.bias.kept if self.state else 0
        return sum(weight.kept for weight in self.weights()) - unused

    def weights(self) -> Iterator[Weight]:
        """Every stored array."""
        return (module for module in self.modules() if isinstance(module, Weight))

    def layers(self) -> dict[str, LowRankLayer]:
        """Every tensor, by name, from the sequences to the links."""
        found = dict(self.encoder.layers()) if self.encoder else {}
        if self.state is not None:
            found[_STATE] = self.state
        return {**found, **{f"layer{number}": layer for number, layer in enumerate(self._dense())}}

    def replace(self, name: str, layer: LowRankLayer) -> None:
        """Put another form of a tensor in its place."""
        if name == _STATE:
            layer.bias.array.requires_grad_(False)
            self.state = layer
        elif name.startswith("layer"):
            self.dense[int(name.removeprefix("layer"))] = layer
        elif self.encoder is not None:
            self.encoder.replace(name, layer)

    def forward(self, examples: Examples) -> Tensor:
        """(rows, behaviours) links of scaled inputs."""
        first, *rest = self._dense()
        value = first(examples.features)
        if self.encoder is not None and self.state is not None and examples.sequences is not None:
            states = self.encoder(examples.sequences)
            value = value + self.state(states[examples.window, examples.place])
        for layer in rest:
            value = layer(torch.relu(value))
        links: Tensor = value
        return links

    def add_to(self, graph: Graph, features: str, sequences: str | None) -> str:
        """See `GraphLearner`."""
        first, *rest = self._dense()
        value = first.add_to(graph, features)
        if self.encoder is not None and self.state is not None and sequences is not None:
            read = self.encoder.add_to(graph, sequences)
            for matrix in self.state.matrices_in(graph):
                read = graph.op("MatMul", read, matrix)
            value = graph.op("Add", value, read)
        for layer in rest:
            value = layer.add_to(graph, graph.op("Relu", value))
        return value

    def statistics(self, examples: Examples) -> dict[str, Statistics]:
        """Of every tensor; those of a recurrent unit through all steps of the roll-out."""
        self.eval()
        if isinstance(self.encoder, LowRankGru):
            with self.encoder.unrolled():
                return measure(self.layers(), lambda: self(examples))
        return measure(self.layers(), lambda: self(examples))

    def units(self) -> tuple[Units, ...]:
        """The units of the encoder's state, with all that reads and writes them."""
        if self.encoder is None or self.state is None:
            return ()
        return (self.encoder.units(self.state.mode_slices(1)),)

    def unit_costs(self, statistics: dict[str, Statistics]) -> NDArray[np.float64]:
        """(units,) what the predictions lose when whatever reads a unit of the state reads zero, through all of time.

        It is the second-order worth of optimal brain damage [LeCun et al. 1989], in the metric of the decompositions.

        Args:
            statistics: of every tensor.
        """
        if self.encoder is None:
            return np.zeros(0)
        costs = np.zeros(self.encoder.width)
        for name, layer in self.state_readers().items():
            tensor = layer.tensor()
            for unit in range(len(costs)):
                lost = np.zeros_like(tensor)
                lost[..., unit] = tensor[..., unit]
                costs[unit] += statistics[name].cost(lost)
        return costs

    def state_readers(self) -> dict[str, LowRankLayer]:
        """Every tensor whose last mode is the state: the first convolution reads the sequence, all others the state."""
        names = ("recur", _STATE)
        return {
            name: layer
            for name, layer in self.layers().items()
            if name in names or (name.startswith("convolution") and name != "convolution0")
        }

    def keep(self, units: Units, index: NDArray[np.int64]) -> None:
        """Remove all units but some."""
        units.keep(index)
        for layer in self.layers().values():
            layer.replan()

    def _dense(self) -> list[LowRankLayer]:
        layers = []
        for layer in self.dense:
            assert isinstance(layer, LowRankLayer)
            layers.append(layer)
        return layers
