"""Gated recurrent unit over the last sessions (Cho et al., EMNLP 2014), beside the features."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from onnx import TensorProto
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from fusion.onnx_graph import Graph
from fusion.teachers.network import Encoder, NetworkSettings, NetworkTrainer, array


class GruSettings(NetworkSettings):
    """Settings of a GRU."""

    width: int = Field(default=64, ge=1, description="length of the state")
    hidden: tuple[PositiveInt, ...] = (128, 64)
    epochs: PositiveInt = 8
    learning_rate: PositiveFloat = 3e-3


class GruEncoder(Encoder):
    """The state after each session, from the first one there is.

    Args:
        channels: of the sequences; channel 0 says whether a session is present.
        width: length of the state.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.cell = nn.GRU(channels, width, batch_first=True)

    def forward(self, sequences: Tensor) -> Tensor:
        """(windows, steps, channels) → (windows, steps, width)."""
        steps = torch.arange(sequences.shape[1])
        empty = sequences.shape[1] - (sequences[..., 0] > 0).sum(dim=1, keepdim=True).clamp(min=1)
        # Turned round, so that each history starts at step 0 and what lies behind its end is never looked at.
        states: Tensor = self.cell(_rolled(sequences, steps + empty))[0]
        return _rolled(states, steps - empty)

    def add_to(self, graph: Graph, sequences: str) -> str:
        """One GRU operator, backwards over the sessions turned newest first: it too starts at the first session."""

        def whole(*numbers: int) -> str:
            return graph.constant(np.array(numbers), np.int64)

        present = graph.op("Gather", sequences, graph.constant(0, np.int64), axis=2)
        positive = graph.op("Cast", graph.op("Greater", present, graph.constant(0.0)), to=TensorProto.FLOAT)
        lengths = graph.op("ReduceSum", positive, whole(1), keepdims=0)
        lengths = graph.op("Cast", graph.op("Max", lengths, graph.constant(1.0)), to=TensorProto.INT32)
        by_step = graph.op("Transpose", sequences, perm=[1, 0, 2])
        newest_first = graph.op("Slice", by_step, whole(-1), whole(-(2**31)), whole(0), whole(-1))
        weights = (self.cell.weight_ih_l0, self.cell.weight_hh_l0)
        biases = np.concatenate((_gates(array(self.cell.bias_ih_l0)), _gates(array(self.cell.bias_hh_l0))))
        state = graph.op(
            "GRU",
            newest_first,
            *(graph.constant(_gates(array(weight))[None]) for weight in weights),
            graph.constant(biases[None]),
            lengths,
            output=1,
            hidden_size=self.width,
            direction="reverse",
            # Torch multiplies the reset gate with the state after the linear map, not before it.
            linear_before_reset=1,
        )
        return graph.op("Squeeze", state, whole(0))


def _rolled(values: Tensor, steps: Tensor) -> Tensor:
    """(windows, steps, n) with the steps of each window replaced by those at `steps` (windows, steps)."""
    return values.gather(1, (steps % values.shape[1])[..., None].expand_as(values))


def _gates(
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Torch keeps the gates as reset, update, new; ONNX as update, reset, new."""
    reset, update, new = np.split(rows, 3)
    return np.concatenate((update, reset, new))


TRAINER: Final = NetworkTrainer(GruSettings, lambda settings, channels: GruEncoder(channels, settings.width))
