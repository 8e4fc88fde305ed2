"""Matrix products of integers: uint8 activations by int8 weights, summed up in 32 bits [Jacob et al. 2018,
arXiv:1712.05877].

An activation is `step * (code - zero)`, a weight `step * code` with a step per output, a bias a multiple of both steps.
In the file these are QuantizeLinear and DequantizeLinear nodes around a product, which ONNX Runtime fuses into one
integer kernel that goes straight from codes to codes. Torch takes the very steps of that kernel here: the sum is exact,
and what follows is one float32 multiplication and one rounding. Both answer with the same bits; no tie is rounded to
one side here and to the other there. (A runtime that does not fuse the nodes multiplies in another order: now and then
a code is then the next one, and that player's answers differ by more than the tolerance of the parity check.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from onnx import TensorProto

from fusion.quantize.packing import Holes, add_codes
from fusion.quantize.uniform import Range, fit_range

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from fusion.onnx_graph import Graph

_HIGHEST: Final = 255
"""Code of an activation."""
_FULL, _REDUCED = 127, 63
"""Largest code of a weight. Two products of 255 and 63 still fit 16 bits, which is what x86 without VNNI adds up in."""
_LEAST_REACH: Final = 1e-12
"""Some step is needed even where all numbers are 0."""
_EXACT: Final = 2**24
"""Up to here float32 holds every integer."""
_LARGEST_BIAS: Final = 2**22
"""Code of a bias: far more than it needs, and it leaves the sum room to stay exact."""


@dataclass(frozen=True, slots=True)
class ActivationGrid:
    """Values step * (code - zero), code from 0 to 255: 0 is one of them.

    Attributes:
        step: () float32.
        zero: the code of 0.
    """

    step: Tensor
    zero: int

    @classmethod
    def fit(cls, values: NDArray[np.float32], reach: Range) -> ActivationGrid:
        """Place the steps by what a product read: any shape."""

        def grid(low: float, high: float) -> tuple[float, float]:
            low, high = min(low, 0.0), max(high, 0.0)
            # Zero gets a code of its own: ReLU puts out so many.
            step = max(high - low, _LEAST_REACH) / _HIGHEST
            return step * round(low / step), step

        low, step = fit_range(values.astype(np.float64), _HIGHEST, reach, grid)
        return cls(torch.tensor(step, dtype=torch.float32), round(-low / step))

    def codes(self, values: Tensor) -> Tensor:
        """The codes less that of 0, as whole float32 numbers."""
        return self.rounded(values / self.step)

    def rounded(self, steps: Tensor) -> Tensor:
        """The same from values in steps."""
        return (torch.round(steps) + self.zero).clamp(0, _HIGHEST) - self.zero

    def clipped(self, values: Tensor) -> Tensor:
        """Values within the range."""
        return values.clamp(-self.zero * float(self.step), (_HIGHEST - self.zero) * float(self.step))

    def add_to(self, graph: Graph, value: str) -> str:
        """Nodes that round a value of a graph."""
        step, zero = graph.constant(self.step.numpy()), graph.constant(self.zero, np.uint8)
        return graph.op("DequantizeLinear", graph.op("QuantizeLinear", value, step, zero), step, zero)


@dataclass(frozen=True, slots=True)
class IntegerProduct:
    """How `x @ matrix + bias` is carried out in integers.

    Attributes:
        inputs: of x.
        steps: (out,) float32, of each column of the matrix.
        largest: code of a weight.
        outputs: what the product is rounded to: the grid of whoever reads it. None leaves it float32.
    """

    inputs: ActivationGrid
    steps: Tensor
    largest: int
    outputs: ActivationGrid | None = None

    @classmethod
    def fit(
        cls,
        inputs: ActivationGrid,
        matrix: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        *,
        reach: Range,
        reduced: bool,
    ) -> IntegerProduct:
        """Place the steps of the weights.

        Args:
            inputs: of what is multiplied.
            matrix: (in, out).
            bias: (out,), None where there is none.
            reach: how far the steps of a column reach.
            reduced: leave a bit of the weights unused, so that sums of 16 bits do not overflow.
        """
        largest = _REDUCED if reduced else _FULL

        def grid(low: float, high: float) -> tuple[float, float]:
            step = max(abs(low), abs(high), _LEAST_REACH) / largest
            return -largest * step, step

        steps = np.array([fit_range(column.astype(np.float64), 2 * largest, reach, grid)[1] for column in matrix.T])
        if bias is not None:
            # A column of next to nothing would need a bias of more steps than 32 bits can count.
            steps = np.maximum(steps, np.abs(bias) / (float(inputs.step) * _LARGEST_BIAS))
        return cls(inputs, torch.tensor(steps, dtype=torch.float32), largest)

    def __call__(self, x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
        """(rows, in) by (in, out) → (rows, out), as ONNX Runtime computes it.

        Gradients pass the rounding as if it were not there, and stop where a value is cut off.
        """
        with torch.no_grad():
            exact = self._exact(x, matrix, bias)
        if not torch.is_grad_enabled():
            return exact
        served = matrix + (self.codes(matrix) * self.steps - matrix).detach()
        smooth = self.inputs.clipped(x) @ served
        if bias is not None:
            smooth = smooth + bias
        if self.outputs is not None:
            smooth = self.outputs.clipped(smooth)
        return smooth + (exact - smooth).detach()

    def _exact(self, x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        offset = torch.zeros_like(self.steps) if bias is None else self._bias_codes(bias)
        most = len(matrix) * _HIGHEST * self.largest + float(offset.abs().max())
        wide = torch.float32 if most < _EXACT else torch.float64
        total = (self.inputs.codes(x).to(wide) @ self.codes(matrix).to(wide) + offset.to(wide)).float()
        scale = self.inputs.step * self.steps
        if self.outputs is None:
            return total * scale
        return self.outputs.rounded(total * (scale / self.outputs.step)) * self.outputs.step

    def codes(self, matrix: Tensor) -> Tensor:
        """Weights as whole float32 numbers."""
        return torch.round(matrix / self.steps).clamp(-self.largest, self.largest)

    def _bias_codes(self, bias: Tensor) -> Tensor:
        return torch.round(bias / (self.inputs.step * self.steps))

    def add_to(self, graph: Graph, value: str, matrix: Tensor, bias: str | None = None, *, holes: bool = False) -> str:
        """Nodes of a graph from (rows, in) to (rows, out), float32 both: the fused kernel rounds the output itself.

        Args:
            graph: to add to.
            value: name of x.
            matrix: (in, out).
            bias: name of the (out,) bias.
            holes: store no code that is 0.
        """
        value = self.inputs.add_to(graph, value)
        steps = graph.constant(self.steps.numpy())
        codes = _stored(graph, self.codes(matrix).numpy().astype(np.int8), holes=holes)
        # ONNX Runtime fuses no product whose weights leave their zero point out.
        zeros = graph.constant(np.zeros(len(self.steps)), np.int8)
        weights = graph.op("DequantizeLinear", codes, steps, zeros, axis=1)
        if bias is None:
            return graph.op("MatMul", value, weights)
        scale = graph.op("Mul", graph.constant(self.inputs.step.numpy()), steps)
        offset = graph.op("Cast", graph.op("Round", graph.op("Div", bias, scale)), to=TensorProto.INT32)
        return graph.op("Gemm", value, weights, graph.op("DequantizeLinear", offset, scale, axis=0))


def _stored(graph: Graph, codes: NDArray[np.int8], *, holes: bool) -> str:
    if not holes:
        return graph.constant(codes, np.int8)
    kept = Holes.in_graph(graph, codes != 0)
    shifted = add_codes(graph, (codes.astype(np.int16) + _FULL).astype(np.uint8), 8, kept)
    centred = graph.op("Mul", graph.op("Sub", shifted, graph.constant(_FULL)), kept.name)
    return graph.op("Cast", centred, to=TensorProto.INT8)
