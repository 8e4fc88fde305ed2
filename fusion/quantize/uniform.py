"""Uniform quantization: equal steps between the ends of a range [Jacob et al. 2018, arXiv:1712.05877]."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusion.quantize.packing import Holes, add_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph

_PERCENTILE: Final = 99.9
_SHRUNK: Final = np.linspace(1.0, 0.4, 25)
"""Shares of the full range that the search for the least squared error tries."""


class Range(StrEnum):
    """How far the steps reach; what lies outside is cut off."""

    MIN_MAX = "min_max"
    PERCENTILE = "percentile"
    MSE = "mse"


def fit_range(
    values: NDArray[np.float64], levels: int, reach: Range, grid: Callable[[float, float], tuple[float, float]]
) -> tuple[float, float]:
    """Lowest level and step of the grid whose range suits some numbers.

    Args:
        values: any shape.
        levels: the highest code.
        reach: what suits.
        grid: from the ends of a range to the lowest level and the step of a grid.
    """
    if reach is Range.PERCENTILE:
        return grid(*np.percentile(values, (100.0 - _PERCENTILE, _PERCENTILE)))
    low, high = float(values.min()), float(values.max())
    if reach is Range.MIN_MAX:
        return grid(low, high)

    def error(share: float) -> float:
        start, step = grid(share * low, share * high)
        codes = np.clip(np.rint((values - start) / step), 0, levels)
        return float(np.square(start + codes * step - values).sum())

    best = min(_SHRUNK, key=error)
    return grid(best * low, best * high)


class Uniform(BaseModel):
    """Uniform quantization of an array."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["uniform"] = "uniform"
    bits: Literal[8, 4, 2] = 8
    per_channel: bool = Field(default=True, description="a range per entry of the shortest axis, or one for all")
    symmetric: bool = Field(default=True, description="around 0; otherwise from the least to the largest number")
    range: Range = Range.MSE
    reduce_range: bool | Literal["auto"] = Field(
        default="auto", description="leave a bit unused: auto where products are integers and saturate on this machine"
    )

    @model_validator(mode="after")
    def _some_steps_are_left(self) -> Self:
        if self.symmetric and self.bits == 2 and self.reduce_range is True:
            msg = "reduce_range leaves 1 bit out of 2; expected 2 at least where steps are symmetric around 0"
            raise ValueError(msg)
        return self

    def fit(self, array: NDArray[np.float32]) -> UniformGrid:
        """Place the steps."""
        axis = int(np.argmin(array.shape)) if self.per_channel and array.ndim > 1 else None
        channels = array.reshape(1, -1) if axis is None else np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
        levels = 2 ** (self.bits - int(self.reduce_range is True)) - 1
        fitted = np.array([self._fit_channel(channel.astype(np.float64), levels) for channel in channels])
        shape = [1] * array.ndim
        if axis is not None:
            shape[axis] = -1
        low, step = (column.astype(np.float32).reshape(shape) for column in fitted.T)
        return UniformGrid(low, step, levels, self.bits)

    def _fit_channel(self, values: NDArray[np.float64], levels: int) -> tuple[float, float]:
        """Lowest level and step."""
        return fit_range(values, levels, self.range, lambda low, high: self._grid(levels, low, high))

    def _grid(self, levels: int, low: float, high: float) -> tuple[float, float]:
        if self.symmetric:
            # An even number of steps has 0 in the middle: one level less.
            reach = max(abs(low), abs(high))
            step = 2.0 * reach / (levels - 1)
            return -reach, step or 1.0
        return low, (high - low) / levels or 1.0


@dataclass(frozen=True, slots=True)
class UniformGrid:
    """Levels low + step * (0, 1, ..., levels).

    Attributes:
        low: of the shape of the array, 1 along all axes but that of the channels.
        step: likewise.
        levels: the highest code.
        bits: per code in the file.
    """

    low: NDArray[np.float32]
    step: NDArray[np.float32]
    levels: int
    bits: int

    def rounded(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every number as the file gives it back."""
        return np.asarray(self._codes(array).astype(np.float32) * self.step + self.low)

    def _codes(self, array: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.asarray(np.clip(np.rint((array - self.low) / self.step), 0, self.levels), dtype=np.uint8)

    def add_to(self, graph: Graph, array: NDArray[np.float32], holes: Holes | None) -> str:
        """The codes, and nodes that decode them."""
        codes = add_codes(graph, self._codes(array), self.bits, holes)
        scaled = graph.op("Mul", codes, graph.constant(self.step))
        return graph.op("Add", scaled, graph.constant(self.low))
