"""Temporal convolutional network over the last sessions (Bai et al., arXiv 1803.01271), beside the features.

Causal convolutions of kernel 2 with dilations 1, 2, 4, ... and residuals. In training every step is of use; served,
only the newest is, and it depends on every second step of the layer below: T / 2, T / 4, ... 1 steps are computed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
import torch
from onnx import TensorProto
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from fusion.onnx_graph import Graph
from fusion.teachers.network import Encoder, NetworkSettings, NetworkTrainer, array
from inference.contract.features import SEQUENCE_LENGTH


class TcnSettings(NetworkSettings):
    """Settings of a TCN."""

    width: int = Field(default=64, ge=1, description="channels of every layer")
    hidden: tuple[PositiveInt, ...] = (128, 64)
    epochs: PositiveInt = 8
    learning_rate: PositiveFloat = 3e-3


class TcnEncoder(Encoder):
    """The output of the last layer at each session.

    Args:
        channels: of the sequences.
        width: channels of every layer.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.width = width
        levels = SEQUENCE_LENGTH.bit_length() - 1
        widths = (channels, *(width for _ in range(levels)))
        # A convolution of kernel 2 is a linear map of two steps laid side by side, the older one first.
        self.convolutions = nn.ModuleList(nn.Linear(2 * before, after) for before, after in pairwise(widths))

    def forward(self, sequences: Tensor) -> Tensor:
        """(windows, steps, channels) → (windows, steps, width)."""
        present = sequences[..., :1] > 0
        value = sequences
        for level, convolution in enumerate(self.convolutions):
            older = functional.pad(value, (0, 0, 2**level, 0))[:, : value.shape[1]]
            active = torch.relu(convolution(torch.cat((older, value), dim=2)))
            # The first layer changes the number of channels and has no residual.
            value = torch.where(present, active + value if level else active, 0.0)
        return value

    def add_to(self, graph: Graph, sequences: str) -> str:
        """The newest step alone, as nodes of a graph."""

        def whole(*numbers: int) -> str:
            return graph.constant(np.array(numbers), np.int64)

        def newer(value: str) -> str:
            """The newer one of each two steps."""
            return graph.op("Slice", value, whole(1), whole(SEQUENCE_LENGTH), whole(1), whole(2))

        present = graph.op("Greater", graph.op("Gather", sequences, whole(0), axis=2), graph.constant(0.0))
        present = graph.op("Cast", present, to=TensorProto.FLOAT)
        value, steps = sequences, SEQUENCE_LENGTH
        for level, convolution in enumerate(self.convolutions):
            steps //= 2
            pairs = graph.op("Reshape", value, whole(0, steps, -1))
            active = graph.op("Relu", self.convolve(graph, pairs, convolution))
            if level:
                active = graph.op("Add", active, newer(value))
            present = newer(present)
            value = graph.op("Mul", active, present)
        return graph.op("Squeeze", value, whole(1))

    def convolve(self, graph: Graph, pairs: str, convolution: nn.Module) -> str:
        """One convolution as nodes: (rows, steps, 2 * channels), two steps side by side → (rows, steps, width)."""
        mixed = graph.op("MatMul", pairs, graph.constant(array(convolution.weight).T))
        return graph.op("Add", mixed, graph.constant(array(convolution.bias)))


TRAINER: Final = NetworkTrainer(TcnSettings, lambda settings, channels: TcnEncoder(channels, settings.width))
