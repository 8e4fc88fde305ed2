"""A linear layer whose weight tensor is kept in a low-rank form, and how it is carried out.

Whatever the form, the layer is one matrix product or a chain of two: `x @ down @ up`. Each matrix is an einsum over the
stored arrays, so that torch and ONNX follow the same plan: torch trains the arrays, ONNX Runtime folds the einsum at
load.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusion.errors import FusionError
from fusion.lowrank.form import MODES, Dense, Form, Product, plan
from fusion.lowrank.tucker import Tucker
from fusion.prune.unit import Units
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from fusion.onnx_graph import Graph
    from fusion.prune.unit import Slice
    from fusion.quantize.integer import IntegerProduct


class LowRankLayer(nn.Module):
    """y = x @ down @ up + bias, from the arrays of a weight tensor in some form.

    Output modes come first in the tensor, input modes last; both are flattened row by row.

    Args:
        form: the weight tensor (output modes..., input modes...); an array stands for its dense form.
        out_modes: how many modes are output modes.
        bias: (output modes...), zeros where left out.
    """

    integer: tuple[IntegerProduct, ...] | None
    """How each product of the chain is carried out in integers; None where all is float32."""

    def __init__(
        self, form: NDArray[np.float64] | Form, *, out_modes: int, bias: NDArray[np.float32] | None = None
    ) -> None:
        super().__init__()
        self.out_modes = out_modes
        self._like: Form = Dense(form) if isinstance(form, np.ndarray) else form
        self.arrays = nn.ModuleDict({name: Weight(array) for name, array in self._like.arrays.items()})
        self.products = plan(self._like, out_modes)
        self.bias = Weight(np.zeros(self.shape[:out_modes]) if bias is None else bias)
        self.integer = None

    def matrices(self) -> list[Tensor]:
        """The chain, each (in, out)."""
        return [self._matrix(product) for product in self.products]

    def _matrix(self, product: Product) -> Tensor:
        first, *rest = (
            torch.einsum(term.equation, *(self.arrays[name]() for name in term.arrays)) for term in product.terms
        )
        if not rest:
            return first.reshape(product.shape)
        shapes = [term.shape for term in product.terms]
        whole = sum(
            (part.reshape(shape) for part, shape in zip(rest, shapes[1:], strict=True)), first.reshape(shapes[0])
        )
        return whole.reshape(product.shape)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in) → (rows, out)."""
        bias: Tensor = self.bias().flatten()
        *before, last = self.matrices()
        if self.integer is not None:
            *earlier, final = self.integer
            for product, matrix in zip(earlier, before, strict=True):
                x = product(x, matrix)
            return final(x, last, bias)
        for matrix in before:
            x = x @ matrix
        return x @ last + bias

    def in_form(self, form: Form, *, bias: ArrayLike | None = None) -> LowRankLayer:
        """A layer with its tensor in another form, balanced for training; the bias stays unless another is given."""
        bias = self.bias.numpy() if bias is None else np.asarray(bias, dtype=np.float32)
        return LowRankLayer(form.balanced(), out_modes=self.out_modes, bias=bias)

    def multiplied(self) -> LowRankLayer:
        """The same layer with an array for every matrix of its chain, which integer products need.

        Raises:
            FusionError: an array has holes, and it is only a factor of a matrix.
        """
        if all(len(product.arrays) == 1 for product in self.products):
            return self
        if any(weight.mask is not None for _, weight in self.weights()):
            raise FusionError(
                "quantize: activations",
                got=f"pruned numbers in a layer whose matrices are products of {', '.join(self.arrays)}",
                expected="no holes, which multiplying would fill",
                fix="Leave prune_weights out of the recipe, or keep this layer dense.",
            )
        found = [matrix.detach().double().numpy() for matrix in self.matrices()]
        if len(found) == 1:
            return self.in_form(Dense(found[0].T.reshape(self.shape)))
        down, up = found
        outputs, inputs = self.shape[: self.out_modes], self.shape[self.out_modes :]
        factors: list[NDArray[np.float64] | None] = [None] * len(self.shape)
        if self.out_modes == 1:
            factors[0], core = up.T, down.T.reshape(-1, *inputs)
        else:
            factors[-1], core = down, up.T.reshape(*outputs, -1)
        return self.in_form(Tucker(core, tuple(factors)))

    def form(self) -> Form:
        """The weight tensor as it stands now, in float64."""
        return self._like.with_arrays({name: weight.numpy().astype(np.float64) for name, weight in self.weights()})

    def tensor(self) -> NDArray[np.float64]:
        """The weight tensor (output modes..., input modes...) that the arrays stand for."""
        return self.form().to_tensor()

    def weights(self) -> Iterator[tuple[str, Weight]]:
        """Name and weight of every array of the form."""
        for name, weight in self.arrays.items():
            assert isinstance(weight, Weight)
            yield name, weight

    @property
    def kept(self) -> int:
        """Numbers stored."""
        return sum(weight.kept for _, weight in self.weights()) + self.bias.kept

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight tensor."""
        modes = sorted({letter for letters in self._like.subscripts.values() for letter in letters} & set(MODES))
        slices = (self._slices(letter)[0] for letter in modes)
        return tuple(int(weight.array.shape[axis]) for weight, axis in slices)

    def mode_slices(self, mode: int) -> tuple[Slice, ...]:
        """The arrays, and their axes, along which a mode of the tensor lies: several where the form is a sum."""
        return tuple(self._slices(MODES[mode]))

    def components(self, name: str) -> tuple[Units, ...]:
        """What ranks count: components of a CP form, of each mode of a Tucker form, of each bond of a tensor train."""
        found = []
        for letter, kind in self._like.components.items():
            # The gate is a factor: a component times g is this column of it times g.
            gate, *others = sorted(self._slices(letter), key=lambda place: place[0].array.ndim)
            found.append(Units(f"{name}: {kind}", (gate,), tuple((other,) for other in others)))
        return tuple(found)

    def replan(self) -> None:
        """Work out the products anew: to be called when arrays have become smaller."""
        self.products = plan(self.form(), self.out_modes)

    def rearrange(self, index: NDArray[np.int64]) -> None:
        """Follow the arrays, whose first output mode has become other entries of what it was."""
        self.replan()
        if self.integer is not None:
            *before, last = self.integer
            steps = last.steps.reshape(-1, *self.shape[1 : self.out_modes])[index].flatten()
            self.integer = (*before, replace(last, steps=steps))

    def add_to(self, graph: Graph, value: str, *, dense: bool = False) -> str:
        """Nodes of a graph from (rows, in) to (rows, out).

        Args:
            graph: to add to.
            value: name of the input.
            dense: multiply the chain out at load, rather than apply it matrix by matrix; integer products stay apart.
        """
        if self.integer is not None:
            return self._integer_in(graph, value, self.integer)
        *before, last = self.matrices_in(graph)
        for matrix in before:
            if dense:
                last = graph.op("MatMul", matrix, last)
            else:
                value = graph.op("MatMul", value, matrix)
        return graph.op("Gemm", value, last, self._bias_in(graph))

    def matrices_in(self, graph: Graph) -> list[str]:
        """The chain as nodes of a graph, each (in, out), worked out at load."""
        arrays = {name: weight.add_to(graph) for name, weight in self.weights()}
        chain = []
        for product in self.products:
            matrix = ""
            for term in product.terms:
                part = graph.op("Einsum", *(arrays[name] for name in term.arrays), equation=term.equation)
                if len(product.terms) > 1:
                    part = graph.op("Reshape", part, graph.constant(term.shape, np.int64))
                matrix = graph.op("Add", matrix, part) if matrix else part
            chain.append(graph.op("Reshape", matrix, graph.constant(product.shape, np.int64)))
        return chain

    def _integer_in(self, graph: Graph, value: str, products: tuple[IntegerProduct, ...]) -> str:
        *before, last = (matrix.detach() for matrix in self.matrices())
        holes = any(weight.mask is not None for _, weight in self.weights())
        for product, matrix in zip(products, before, strict=False):
            value = product.add_to(graph, value, matrix, holes=holes)
        return products[-1].add_to(graph, value, last, self._bias_in(graph), holes=holes)

    def _bias_in(self, graph: Graph) -> str:
        return graph.op("Reshape", self.bias.add_to(graph), graph.constant((-1,), np.int64))

    def _slices(self, letter: str) -> list[Slice]:
        """Every array that has a letter, and the axis it lies along."""
        weights = dict(self.weights())
        return [
            (weights[name], letters.index(letter))
            for name, letters in self._like.subscripts.items()
            if letter in letters
        ]
