"""Networks of one architecture as one network: layer by layer their weights are a stack (model, out, in).

Any form of the stack will do (see `stack_forms`), also a sum of forms. The forward pass, in torch and in the graph,
works the stack out once and multiplies: one product for the first layer, whose input all models share, one batched
product for each of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusion.distill.student import Rows
from fusion.lowrank.alignment import check_alike
from fusion.lowrank.form import Dense, Form, equation
from fusion.training import Learner
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fusion.lowrank.alignment import Tower
    from fusion.onnx_graph import Graph


class StackedLayer(nn.Module):
    """One linear layer of every model.

    Args:
        terms: forms whose sum is the stack (model, out, in); one without a model counts for all.
        bias: (models, out).
    """

    def __init__(self, terms: Sequence[Form], bias: NDArray[np.float64]) -> None:
        super().__init__()
        self._terms = tuple(terms)
        self.arrays = nn.ModuleDict(
            {f"{number}_{name}": Weight(a) for number, term in enumerate(terms) for name, a in term.arrays.items()}
        )
        self.models, self.width = bias.shape
        self.bias = Weight(bias.ravel())

    def stack(self) -> Tensor:
        """(models, out, in)."""
        total: Tensor | None = None
        for number, term in enumerate(self._terms):
            arrays = [self.arrays[f"{number}_{name}"]() for name in term.arrays]
            part = torch.einsum(equation(term), *arrays)
            total = part if total is None else total + part
        assert total is not None
        return total

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in), or (models, rows, in) → (models, rows, out)."""
        links: Tensor = torch.matmul(x, self.stack().transpose(1, 2))
        bias: Tensor = self.bias()
        return links + bias.reshape(self.models, 1, self.width)

    def in_form(self, *terms: Form) -> StackedLayer:
        """The layer with its stack in other forms, balanced for training."""
        return StackedLayer(
            [term.balanced() for term in terms], self.bias.numpy().astype(np.float64).reshape(self.models, -1)
        )

    def owned(self) -> Iterator[tuple[Weight, str]]:
        """Every array that has the model among its modes, and its subscripts."""
        for number, term in enumerate(self._terms):
            for name, letters in term.subscripts.items():
                weight = self.arrays[f"{number}_{name}"]
                assert isinstance(weight, Weight)
                if "a" in letters:
                    yield weight, letters

    def tensor(self) -> NDArray[np.float64]:
        """(models, out, in) as it stands."""
        return np.asarray(self.stack().detach().double().numpy())

    def stack_in(self, graph: Graph) -> str:
        """(models, out, in) as nodes of a graph, worked out at load."""
        total = ""
        for number, term in enumerate(self._terms):
            arrays = []
            for name in term.arrays:
                weight = self.arrays[f"{number}_{name}"]
                assert isinstance(weight, Weight)
                arrays.append(weight.add_to(graph))
            part = graph.op("Einsum", *arrays, equation=equation(term))
            total = graph.op("Add", total, part) if total else part
        return total


class StackedNetwork(Learner[Rows]):
    """Towers of ReLU layers over the same features, one after the other's links side by side.

    Args:
        towers: of one architecture.

    Raises:
        FusionError: one has another architecture.
    """

    def __init__(self, towers: Sequence[Tower]) -> None:
        super().__init__()
        check_alike(towers)
        self.layers = nn.ModuleList(
            StackedLayer(
                [Dense(np.stack([tower.weights[number] for tower in towers]))],
                np.stack([tower.biases[number] for tower in towers]),
            )
            for number in range(len(towers[0].weights))
        )

    def layer(self, number: int) -> StackedLayer:
        """One of the layers, from the features to the links."""
        layer = self.layers[number]
        assert isinstance(layer, StackedLayer)
        return layer

    def replace(self, number: int, *terms: Form) -> None:
        """Put a layer's stack in other forms."""
        self.layers[number] = self.layer(number).in_form(*terms)

    @property
    def output_bias(self) -> nn.Parameter:
        """(models * links of each,) bias of the last layer."""
        return self.layer(len(self.layers) - 1).bias.array

    @property
    def parameter_count(self) -> int:
        """Numbers stored."""
        return sum(module.kept for module in self.modules() if isinstance(module, Weight))

    def forward(self, examples: Rows) -> Tensor:
        """(rows, models * links of each)."""
        value = examples.features
        for number in range(len(self.layers)):
            value = self.layer(number)(torch.relu(value) if number else value)
        return value.transpose(0, 1).flatten(1)

    def add_to(self, graph: Graph, features: str) -> str:
        """The same as nodes of a graph, from (rows, features)."""

        def whole(*numbers: int) -> str:
            return graph.constant(numbers, np.int64)

        value = ""
        for number in range(len(self.layers)):
            layer = self.layer(number)
            models, out = layer.models, layer.width
            stack, bias = layer.stack_in(graph), layer.bias.add_to(graph)
            if not value:
                flat = graph.op("Reshape", stack, whole(models * out, -1))
                value = graph.op("Gemm", features, flat, bias, transB=1)
                by_model = graph.op("Reshape", value, whole(-1, models, out))
                value = graph.op("Transpose", by_model, perm=[1, 0, 2])
            else:
                turned = graph.op("Transpose", stack, perm=[0, 2, 1])
                mixed = graph.op("MatMul", graph.op("Relu", value), turned)
                value = graph.op("Add", mixed, graph.op("Reshape", bias, whole(models, 1, out)))
        return graph.op("Reshape", graph.op("Transpose", value, perm=[1, 0, 2]), whole(0, -1))
