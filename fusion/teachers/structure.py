"""What a network is made of: layers with their weights, read back from its ONNX graph; or why they cannot be.

Networks whose layers are known can be stacked with others and decomposed as they are. Anything else is a black box: it
can be asked, and its answers can be learnt, but nothing in it can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Function(StrEnum):
    """A function of every number by itself, except `softmax`, which is one of all columns."""

    RELU = "relu"
    LEAKY_RELU = "leaky_relu"
    ELU = "elu"
    TANH = "tanh"
    SIGMOID = "sigmoid"
    SOFTPLUS = "softplus"
    GELU = "gelu"
    SILU = "silu"
    SOFTMAX = "softmax"
    SIGNED_LOG1P = "signed_log1p"
    """sign(x) log(1 + |x|)."""
    LOG1P = "log1p"
    LOGIT = "logit"


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """x @ weight.T + bias: weight (out, in), bias (out,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """x * scale + shift, column by column: scale and shift (columns,), or (1,) where they are the same for all."""

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Impute:
    """NaN → values: (columns,), or (1,) where it is the same for all."""

    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Clip:
    """x cut off below `low` and above `high`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Activation:
    """A function of the numbers; `alpha` is the slope or scale of `leaky_relu` and `elu` below zero."""

    function: Function
    alpha: float = 0.0


@dataclass(frozen=True, slots=True)
class Select:
    """Some of the columns, in this order."""

    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """(x - mean) / sqrt(variance + epsilon) over the columns, times gain, plus bias: both (columns,)."""

    gain: NDArray[np.float32]
    bias: NDArray[np.float32]
    epsilon: float


class Cell(StrEnum):
    """What a recurrent layer does at each step."""

    GRU = "gru"
    """Gates update, reset, new (Cho et al., EMNLP 2014)."""
    LSTM = "lstm"
    """Gates input, output, forget, cell (Hochreiter and Schmidhuber 1997)."""


@dataclass(frozen=True, slots=True, eq=False)
class Recurrent:
    """From (rows, steps, channels) to the state after the last step, (rows, width); the state before is zero.

    Attributes:
        cell: what is done at each step; weights and biases hold its gates in the order that `Cell` says.
        input_weight: (gates * width, channels).
        state_weight: (gates * width, width).
        input_bias: (gates * width,).
        state_bias: (gates * width,).
        reset_after: of a GRU, whether the reset gate is applied after the linear map of the state, not before it.
        newest_first: whether the steps are read from the last one to the first.
        skips_padding: whether steps before the first session (channel 0 above 0 says that there is one) are not read.
    """

    cell: Cell
    input_weight: NDArray[np.float32]
    state_weight: NDArray[np.float32]
    input_bias: NDArray[np.float32]
    state_bias: NDArray[np.float32]
    reset_after: bool
    newest_first: bool
    skips_padding: bool


Layer = Dense | Affine | Impute | Clip | Activation | Select | LayerNorm | Recurrent


@dataclass(frozen=True, slots=True)
class Join:
    """The outputs of several chains side by side."""

    parts: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers one after the other.

    Attributes:
        source: name of a graph input, or what is joined before the first layer.
        layers: in the order of computing.
    """

    source: str | Join
    layers: tuple[Layer, ...] = ()

    def then(self, *layers: Layer) -> Chain:
        """The same with more layers at its end."""
        return Chain(self.source, (*self.layers, *layers))


@dataclass(frozen=True, slots=True)
class BlackBox:
    """A model whose layers cannot be told, and why, in one sentence."""

    reason: str
