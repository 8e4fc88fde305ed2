"""Gated recurrent unit over the last sessions (Cho et al., EMNLP 2014), beside the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
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
        return from_first_session(sequences, lambda turned: self.cell(turned)[0])

    def add_to(self, graph: Graph, sequences: str) -> str:
        """One GRU operator."""
        weights = (self.cell.weight_ih_l0, self.cell.weight_hh_l0)
        biases = np.concatenate([swapped_gates(array(bias)) for bias in (self.cell.bias_ih_l0, self.cell.bias_hh_l0)])
        arrays = [graph.constant(swapped_gates(array(weight))[None]) for weight in weights]
        return add_gru(graph, sequences, (arrays[0], arrays[1], graph.constant(biases[None])), self.width)


def from_first_session(sequences: Tensor, states: Callable[[Tensor], Tensor]) -> Tensor:
    """States of sequences whose first session is not at step 0, (windows, steps, channels) → (windows, steps, width).

    Args:
        sequences: padded in front.
        states: the same for histories that start at step 0; what lies behind their end is of no matter.
    """
    steps = torch.arange(sequences.shape[1])
    empty = sequences.shape[1] - history_lengths(sequences)[:, None]
    return _rolled(states(_rolled(sequences, steps + empty)), steps - empty)


def history_lengths(sequences: Tensor) -> Tensor:
    """(windows, steps, channels) → (windows,) sessions of each; a history of none counts as one."""
    return (sequences[..., 0] > 0).sum(dim=1).clamp(min=1)


def add_gru(graph: Graph, sequences: str, arrays: tuple[str, str, str], width: int) -> str:
    """One GRU operator, backwards over the sessions turned newest first: it too starts at the first session.

    Args:
        graph: to add to.
        sequences: (rows, T, channels), scaled.
        arrays: input weights (1, 3 * width, channels), recurrent weights (1, 3 * width, width) and both biases
            (1, 6 * width), gates in ONNX's order: update, reset, new.
        width: of the state.

    Returns:
        (rows, width), the state after the newest session.
    """

    def whole(*numbers: int) -> str:
        return graph.constant(np.array(numbers), np.int64)

    present = graph.op("Gather", sequences, graph.constant(0, np.int64), axis=2)
    positive = graph.op("Cast", graph.op("Greater", present, graph.constant(0.0)), to=TensorProto.FLOAT)
    lengths = graph.op("ReduceSum", positive, whole(1), keepdims=0)
    lengths = graph.op("Cast", graph.op("Max", lengths, graph.constant(1.0)), to=TensorProto.INT32)
    by_step = graph.op("Transpose", sequences, perm=[1, 0, 2])
    newest_first = graph.op("Slice", by_step, whole(-1), whole(-(2**31)), whole(0), whole(-1))
    state = graph.op(
        "GRU",
        newest_first,
        *arrays,
        lengths,
        output=1,
        hidden_size=width,
        direction="reverse",
        # Torch multiplies the reset gate with the state after the linear map, not before it.
        linear_before_reset=1,
    )
    return graph.op("Squeeze", state, whole(0))


def _rolled(values: Tensor, steps: Tensor) -> Tensor:
    """(windows, steps, n) with the steps of each window replaced by those at `steps` (windows, steps)."""
    return values.gather(1, (steps % values.shape[1])[..., None].expand_as(values))


def swapped_gates(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Torch keeps the gates as reset, update, new; ONNX as update, reset, new. The swap leads either way."""
    first, second, new = np.split(rows, 3)
    return np.concatenate((second, first, new))


TRAINER: Final = NetworkTrainer(GruSettings, lambda settings, channels: GruEncoder(channels, settings.width))
