"""Stacked towers with what surrounds them: one scaling of the features before, from scores to links behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion.branching import columnwise
from fusion.lowrank.stacked import StackedNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from fusion.branching.columnwise import Columnwise
    from fusion.distill.student import Rows
    from fusion.lowrank.form import Form
    from fusion.onnx_graph import Graph
    from fusion.sharing.towers import Towers

_LEAST_SHARE = 1e-6
"""Of the largest singular value, below which one is rounding."""


class SharedNetwork(StackedNetwork):
    """The networks of several teachers, whose weights are stacked level by level and may share factors.

    Args:
        towers: what they are.
    """

    def __init__(self, towers: Towers) -> None:
        super().__init__(towers.towers)
        self.known = towers
        width = self.layer(len(self.layers) - 1).width
        self._columns = [
            model * width + score for model, answers in enumerate(towers.answers) for score in range(len(answers))
        ]
        self._answers = [layers for answers in towers.answers for layers in answers]
        for number in range(len(self.layers)):
            self._leave_out(number)

    def replace(self, number: int, *terms: Form) -> None:
        """Put a level's stack in other forms; what is nobody's own is not stored."""
        super().replace(number, *terms)
        self._leave_out(number)

    def forward(self, examples: Rows) -> Tensor:
        """(rows, all towers' behaviours) links of raw features, NaN where unknown."""
        scaled = columnwise.compute(self.known.before, examples.features)
        scores = super().forward(replace(examples, features=scaled))
        links = [
            columnwise.compute(layers, scores[:, column : column + 1])
            for column, layers in zip(self._columns, self._answers, strict=True)
        ]
        return torch.cat(links, dim=1)

    def add_to(self, graph: Graph, features: str) -> str:
        """The same as nodes of a graph."""
        scores = super().add_to(graph, columnwise.add_to(graph, self.known.before, features))
        return _add_answers(graph, scores, self._columns, self._answers)

    def add_one(self, graph: Graph, features: str, model: int) -> str:
        """One tower alone, over the features that it reads: each level as one or two products."""
        known = self.known
        read = np.flatnonzero(known.reads[model])
        value = columnwise.add_to(graph, [columnwise.some_columns(each, read) for each in known.before], features)
        for number in range(len(self.layers)):
            weight, bias = self._level(number, model)
            value = _add_product(graph, graph.op("Relu", value) if number else value, weight, bias)
        return _add_answers(graph, value, list(range(known.widths[model][-1])), known.answers[model])

    def numbers_of(self, model: int) -> int:
        """That one tower alone stores."""
        levels = [self._level(number, model) for number in range(len(self.layers))]
        return sum(_numbers(weight) + bias.size for weight, bias in levels)

    def _level(self, number: int, model: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        units, inputs = (own[model] for own in self.known.own(number))
        layer = self.layer(number)
        bias = layer.bias.numpy().reshape(layer.models, -1)[model][units].astype(np.float64)
        return layer.tensor()[model][np.ix_(units, inputs)], bias

    def _leave_out(self, number: int) -> None:
        """Mask, in arrays that a tower owns, what no unit or input of it speaks of."""
        layer, (units, inputs) = self.layer(number), self.known.own(number)
        if not units.all():
            layer.bias.mask = torch.from_numpy(units.ravel().astype(np.float32))
        for weight, letters in layer.owned():
            mask = torch.ones(tuple(weight.array.shape))
            for letter, own in (("b", units), ("c", inputs)):
                if letter in letters:
                    shape = [1] * len(letters)
                    for axis, size in ((letters.index("a"), own.shape[0]), (letters.index(letter), own.shape[1])):
                        shape[axis] = size
                    # The model comes before the other mode in every form.
                    mask = mask * torch.from_numpy(own.astype(np.float32)).reshape(shape)
            weight.mask = None if bool(mask.all()) else mask


def _add_answers(graph: Graph, scores: str, columns: Sequence[int], answers: Sequence[tuple[Columnwise, ...]]) -> str:
    if not any(answers):
        return graph.op("Gather", scores, graph.constant(columns, np.int64), axis=1)
    links = [
        columnwise.add_to(graph, layers, graph.op("Gather", scores, graph.constant([column], np.int64), axis=1))
        for column, layers in zip(columns, answers, strict=True)
    ]
    return graph.op("Concat", *links, axis=1) if len(links) > 1 else links[0]


def _factors(weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(out, rank) and (rank, in) whose product it is, where they are fewer numbers."""
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    rank = max(1, int((values > _LEAST_SHARE * values[0]).sum()))
    if rank * sum(weight.shape) >= weight.size:
        return None
    return left[:, :rank] * values[:rank], right[:rank]


def _numbers(weight: NDArray[np.float64]) -> int:
    factors = _factors(weight)
    return weight.size if factors is None else sum(factor.size for factor in factors)


def _add_product(graph: Graph, value: str, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> str:
    factors = _factors(weight)
    if factors is None:
        return graph.linear(value, weight, bias)
    up, down = factors
    return graph.linear(graph.linear(value, down, np.zeros(len(down))), up, bias)
