"""A gated recurrent unit whose weights are kept in a low-rank form.

Its gates are slices: the input weights are a tensor (gate, hidden, in), the recurrent ones (gate, hidden, hidden), so
that gates can share what they read and write [Tucker and CP of recurrent weights: Ye et al. 2018, arXiv:1712.05134;
Tjandra et al. 2018]. An error of the recurrent weights comes back at every step: the metric of both tensors is that of
back-propagation through time, measured on the roll-out, and so is what is lost (`rollout_error`).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from fusion.lowrank.layer import LowRankLayer
from fusion.prune.unit import Units
from fusion.teachers.gru import add_gru, from_first_session, history_lengths
from fusion.teachers.network import Encoder, array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph
    from fusion.prune.unit import Slice
    from fusion.teachers.gru import GruEncoder

_GATES = 3


class LowRankGru(Encoder):
    """The state after each session, from the first one there is.

    Args:
        read: of the tensor (gate, hidden, in), gates in torch's order: reset, update, new.
        recur: of the tensor (gate, hidden, hidden).
    """

    def __init__(self, read: LowRankLayer, recur: LowRankLayer) -> None:
        super().__init__()
        self.read, self.recur = read, recur
        self._unrolled = False

    @classmethod
    def from_encoder(cls, encoder: GruEncoder) -> LowRankGru:
        """The same GRU, dense."""
        width = encoder.width

        def layer(kind: str) -> LowRankLayer:
            weight = array(encoder.cell.get_parameter(f"weight_{kind}_l0")).astype(np.float64)
            bias = array(encoder.cell.get_parameter(f"bias_{kind}_l0"))
            return LowRankLayer(weight.reshape(_GATES, width, -1), out_modes=2, bias=bias.reshape(_GATES, width))

        return cls(layer("ih"), layer("hh"))

    @property
    def width(self) -> int:  # type: ignore[override]
        """Length of the state."""
        return self.recur.shape[1]

    def layers(self) -> dict[str, LowRankLayer]:
        """Both tensors, by name."""
        return {"read": self.read, "recur": self.recur}

    def replace(self, name: str, layer: LowRankLayer) -> None:
        """Put another form of a tensor in its place."""
        setattr(self, name, layer)

    @contextmanager
    def unrolled(self) -> Iterator[None]:
        """Meanwhile every step calls both layers: slower, but whoever listens at the layers hears all steps."""
        self._unrolled = True
        try:
            yield
        finally:
            self._unrolled = False

    def forward(self, sequences: Tensor) -> Tensor:
        """(windows, steps, channels) → (windows, steps, width)."""
        if self._unrolled:
            lengths = history_lengths(sequences)
            return from_first_session(sequences, lambda turned: self._stepwise(turned, lengths))
        return from_first_session(sequences, self._fused)

    def _fused(self, sequences: Tensor) -> Tensor:
        weights = [_matrix(layer).T.contiguous() for layer in (self.read, self.recur)]
        biases = [layer.bias().flatten() for layer in (self.read, self.recur)]
        start = sequences.new_zeros(1, len(sequences), self.width)
        states, _ = torch.gru(sequences, start, [*weights, *biases], True, 1, 0.0, False, False, True)
        return states

    def _stepwise(self, sequences: Tensor, lengths: Tensor) -> Tensor:
        state = sequences.new_zeros(len(sequences), self.width)
        states = []
        for step in range(sequences.shape[1]):
            goes_on = (lengths > step).nonzero()[:, 0]
            if len(goes_on):
                before = state[goes_on]
                read = self.read(sequences[goes_on, step]).chunk(_GATES, dim=1)
                kept = self.recur(before).chunk(_GATES, dim=1)
                reset, update = (torch.sigmoid(read[gate] + kept[gate]) for gate in (0, 1))
                new = torch.tanh(read[2] + reset * kept[2])
                state = state.index_copy(0, goes_on, (1 - update) * new + update * before)
            states.append(state)
        return torch.stack(states, dim=1)

    def add_to(self, graph: Graph, sequences: str) -> str:
        """One GRU operator, whose weights are worked out from the factors when the file is loaded."""

        def shaped(value: str, *shape: int) -> str:
            return graph.op("Reshape", value, graph.constant(shape, np.int64))

        order = graph.constant((1, 0, 2), np.int64)
        weights, biases = [], []
        for layer in (self.read, self.recur):
            first, *rest = layer.matrices_in(graph)
            for matrix in rest:
                first = graph.op("MatMul", first, matrix)
            # (in, gates * hidden) → (gates, hidden, in), update before reset as ONNX has it.
            by_gate = shaped(graph.op("Transpose", first, perm=[1, 0]), _GATES, self.width, -1)
            weights.append(shaped(graph.op("Gather", by_gate, order, axis=0), 1, _GATES * self.width, -1))
            biases.append(graph.op("Gather", layer.bias.add_to(graph), order, axis=0))
        both = shaped(graph.op("Concat", *biases, axis=0), 1, -1)
        return add_gru(graph, sequences, (weights[0], weights[1], both), self.width)

    def units(self, readers: Sequence[Slice]) -> Units:
        """The units of the state: all gates' rows, the columns of the recurrent tensor, and what reads them.

        Args:
            readers: arrays and axes of whatever else reads the state.
        """
        gates = (*self.read.mode_slices(1), (self.read.bias, 1), *self.recur.mode_slices(1), (self.recur.bias, 1))
        return Units("state units", (*readers, *self.recur.mode_slices(2)), (gates,))

    def replan(self) -> None:
        """To be called when arrays have become smaller."""
        self.read.replan()
        self.recur.replan()


def rollout_error(reference: Encoder, encoder: Encoder, sequences: NDArray[np.float32]) -> float:
    """Relative root mean square error of the newest state after a whole roll-out.

    Args:
        reference: the encoder as it was.
        encoder: of the same width.
        sequences: (windows, steps, channels), scaled.
    """
    with torch.no_grad():
        expected, got = (each(torch.from_numpy(sequences))[:, -1].double() for each in (reference, encoder))
    return float((got - expected).norm() / expected.norm())


def _matrix(layer: LowRankLayer) -> Tensor:
    """(in, out)."""
    first, *rest = layer.matrices()
    for matrix in rest:
        first = first @ matrix
    return first
