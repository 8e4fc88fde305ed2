"""A temporal convolutional network whose convolutions are kept in a low-rank form.

A convolution is a tensor (out, kernel, in). Tucker with the kernel mode whole is Tucker-2 of [Kim et al. 2016,
arXiv:1511.06530]: channels are narrowed, convolved, and widened again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from fusion.lowrank.layer import LowRankLayer
from fusion.prune.unit import Units
from fusion.teachers.network import Encoder, array
from fusion.teachers.tcn import TcnEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.onnx_graph import Graph
    from fusion.prune.unit import Slice


class LowRankTcn(TcnEncoder):
    """The output of the last layer at each session.

    Args:
        convolutions: of tensors (out, kernel, in), the older step of the kernel first.
    """

    def __init__(self, convolutions: Sequence[LowRankLayer]) -> None:
        Encoder.__init__(self)
        self.convolutions = nn.ModuleList(convolutions)

    @classmethod
    def from_encoder(cls, encoder: TcnEncoder) -> LowRankTcn:
        """The same network, dense."""
        layers = []
        for convolution in encoder.convolutions:
            weight = array(convolution.weight).astype(np.float64)
            layers.append(LowRankLayer(weight.reshape(len(weight), 2, -1), out_modes=1, bias=array(convolution.bias)))
        return cls(layers)

    @property
    def width(self) -> int:  # type: ignore[override]
        """Channels of every layer."""
        return self._layer(0).shape[0]

    def layers(self) -> dict[str, LowRankLayer]:
        """All convolutions, by name."""
        return {f"convolution{level}": self._layer(level) for level in range(len(self.convolutions))}

    def replace(self, name: str, layer: LowRankLayer) -> None:
        """Put another form of a convolution in its place."""
        self.convolutions[int(name.removeprefix("convolution"))] = layer

    def convolve(self, graph: Graph, pairs: str, convolution: nn.Module) -> str:
        """See `TcnEncoder`."""
        assert isinstance(convolution, LowRankLayer)
        for matrix in convolution.matrices_in(graph):
            pairs = graph.op("MatMul", pairs, matrix)
        return graph.op("Add", pairs, convolution.bias.add_to(graph))

    def units(self, readers: Sequence[Slice]) -> Units:
        """The channels: residuals tie those of all layers together.

        Args:
            readers: arrays and axes of whatever else reads the channels.
        """
        layers = list(self.layers().values())
        reads = [place for layer in layers[1:] for place in layer.mode_slices(2)]
        writes = [place for layer in layers for place in (*layer.mode_slices(0), (layer.bias, 0))]
        return Units("channels", (*readers, *reads), (tuple(writes),))

    def replan(self) -> None:
        """To be called when arrays have become smaller."""
        for layer in self.layers().values():
            layer.replan()

    def _layer(self, level: int) -> LowRankLayer:
        layer = self.convolutions[level]
        assert isinstance(layer, LowRankLayer)
        return layer
