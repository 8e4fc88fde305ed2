"""A teacher as a dense network over features: levels of neurons, the last of them one score per behaviour.

Heads of a network that has some already, and scales on which groups of behaviours answer, begin with the same layers:
those are read once, and what stands side by side after them becomes one level with zeros between the heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from scipy.linalg import block_diag

from fusion.branching.columnwise import Columnwise, is_columnwise, some_columns
from fusion.errors import FusionError
from fusion.teachers.graph_view import GraphView
from fusion.teachers.onnx_teacher import FEATURES, LINKS
from fusion.teachers.structure import Activation, Affine, BlackBox, Chain, Clip, Dense, Function, Select
from fusion.teachers.structure_reader import read_structure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.teachers.onnx_teacher import OnnxTeacher


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """after(x @ weight.T + bias): weight (units, inputs), bias (units,)."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    after: tuple[Columnwise, ...] = ()

    def units(self, index: NDArray[np.int64]) -> Level:
        """Some of the units."""
        return Level(self.weight[index], self.bias[index], tuple(some_columns(layer, index) for layer in self.after))

    def reading(self, index: NDArray[np.int64]) -> Level:
        """The same units, reading some of the inputs."""
        return Level(self.weight[:, index], self.bias, self.after)


@dataclass(frozen=True, slots=True, eq=False)
class DenseNetwork:
    """From features to links.

    Attributes:
        columns: (inputs,) which of the teacher's features are read.
        before: what is done to them first.
        levels: hidden ones, then one with a score per behaviour.
        answers: per behaviour, from its score to its link.
    """

    columns: NDArray[np.int64]
    before: tuple[Columnwise, ...]
    levels: tuple[Level, ...]
    answers: tuple[tuple[Columnwise, ...], ...]

    @property
    def parameter_count(self) -> int:
        """Weights and biases that are not zero: those between one head and another never were any."""
        return sum(int(np.count_nonzero(level.weight)) + level.bias.size for level in self.levels)


def read_dense(teacher: OnnxTeacher) -> DenseNetwork:
    """The levels of a teacher of several behaviours.

    Raises:
        FusionError: it predicts one behaviour only, or is no network of dense levels over features.
    """
    card = teacher.card
    if len(card.behaviours) < 2:
        raise FusionError(
            f"teacher {card.name} of family {card.family}",
            got=f"one behaviour, {card.behaviour_names[0]}",
            expected="two at least: what one of them does not need can be cut from it",
            fix="Networks of one behaviour are made smaller by fusion.compress, and put together by fusing them.",
        )
    return read_levels(teacher)


def read_levels(teacher: OnnxTeacher) -> DenseNetwork:
    """The levels of a teacher of any number of behaviours.

    Raises:
        FusionError: it is no network of dense levels over features.
    """
    where = f"teacher {teacher.card.name} of family {teacher.card.family}"
    joined = GraphView(onnx.load_model_from_string(teacher.model)).node(LINKS, "Concat")
    branches = [_branch(_chain(teacher.model, part, where), where) for part in (joined.input if joined else [LINKS])]
    return _together(branches, where)


@dataclass(frozen=True, slots=True, eq=False)
class _Branch:
    """What leads to some of the behaviours; the last level's `after` leads from scores to links."""

    columns: NDArray[np.int64]
    before: tuple[Columnwise, ...]
    levels: tuple[Level, ...]


def _chain(model: bytes, value: str, where: str) -> Chain:
    found = read_structure(model, value)
    if isinstance(found, BlackBox):
        raise _no_levels(where, found.reason)
    if found.source != FEATURES:
        raise _no_levels(where, "other inputs than the features alone")
    return found


def _no_levels(where: str, got: str) -> FusionError:
    return FusionError(
        where,
        got=got,
        expected="dense levels over features, of ReLU or another function of each number",
        fix="Trees, recurrent and other networks can be fused as they are, but not be taken apart; heads of a network "
        "are read where each is an output of its own.",
    )


def _branch(chain: Chain, where: str) -> _Branch:
    columns: NDArray[np.int64] | None = None
    before: list[Columnwise] = []
    levels: list[Level] = []
    for layer in chain.layers:
        if isinstance(layer, Dense):
            levels.append(Level(layer.weight.astype(np.float64), layer.bias.astype(np.float64)))
        elif isinstance(layer, Select):
            index = np.array(layer.columns, dtype=np.int64)
            if levels:
                levels[-1] = levels[-1].units(index)
            else:
                columns = index if columns is None else columns[index]
                before = [some_columns(each, index) for each in before]
        elif not is_columnwise(layer):
            kind = layer.function.value if isinstance(layer, Activation) else type(layer).__name__
            raise _no_levels(where, f"a layer {kind}, which mixes the columns")
        elif levels:
            levels[-1] = Level(levels[-1].weight, levels[-1].bias, (*levels[-1].after, layer))
        else:
            before.append(layer)
    if len(levels) < 2:
        raise _no_levels(where, "no hidden level: every behaviour reads the features by itself")
    every = np.arange(levels[0].weight.shape[1])
    return _Branch(every if columns is None else columns, tuple(before), tuple(levels))


def _together(branches: Sequence[_Branch], where: str) -> DenseNetwork:
    first = branches[0]
    depths = sorted({len(branch.levels) for branch in branches})
    if len(depths) > 1:
        raise _no_levels(where, f"heads of {' and '.join(map(str, depths))} levels")
    if not all(_same((first.columns, first.before), (other.columns, other.before)) for other in branches):
        raise _no_levels(where, "heads that scale the features differently")
    *hidden, scores = zip(*(branch.levels for branch in branches), strict=True)
    levels: list[Level] = []
    common = True
    for number, level in enumerate(hidden):
        if common and all(_same(level[0], other) for other in level):
            levels.append(level[0])
            continue
        weight = _stacked(level, common)
        common = False
        widths = [len(part.bias) for part in level]
        after = _side_by_side([part.after for part in level], widths, f"{where}, level {number + 1}")
        levels.append(Level(weight, np.concatenate([part.bias for part in level]), after))
    levels.append(Level(_stacked(scores, common), np.concatenate([part.bias for part in scores])))
    answers = [
        tuple(some_columns(layer, np.array([unit])) for layer in _simplified(part.after))
        for part in scores
        for unit in range(len(part.bias))
    ]
    return DenseNetwork(first.columns, first.before, tuple(levels), tuple(answers))


def _stacked(parts: Sequence[Level], common: bool) -> NDArray[np.float64]:
    """Heads read the same units where those are common to all, and else each its own."""
    weights = [part.weight for part in parts]
    return np.asarray(np.concatenate(weights) if common else block_diag(*weights))


def _side_by_side(parts: Sequence[tuple[Columnwise, ...]], widths: Sequence[int], where: str) -> tuple[Columnwise, ...]:
    """The layers of several heads as layers of all their columns."""
    if len({len(part) for part in parts}) > 1:
        raise _no_levels(where, "heads of different functions")
    return tuple(_one_of_all(layers, widths, where) for layers in zip(*parts, strict=True))


def _one_of_all(layers: Sequence[Columnwise], widths: Sequence[int], where: str) -> Columnwise:
    def wide(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate([np.broadcast_to(array, width) for array, width in zip(arrays, widths, strict=True)])

    affine = [layer for layer in layers if isinstance(layer, Affine)]
    if len(affine) == len(layers):
        return Affine(wide([layer.scale for layer in affine]), wide([layer.shift for layer in affine]))
    if not all(_same(layers[0], other) for other in layers):
        raise _no_levels(where, "heads of different functions")
    return layers[0]


def _simplified(layers: tuple[Columnwise, ...]) -> tuple[Columnwise, ...]:
    """Sigmoid → bounds → logit as mere bounds, which is what it is; in single precision it loses the last digits."""
    functions = [layer.function if isinstance(layer, Activation) else None for layer in layers]
    if Function.SIGMOID not in functions or Function.LOGIT not in functions:
        return layers
    first, last = functions.index(Function.SIGMOID), functions.index(Function.LOGIT)
    bounds = [layer for layer in layers[first:last] if isinstance(layer, Clip)]
    if len(bounds) != last - first - 1:
        return layers
    low = max([0.0, *(bound.low for bound in bounds)])
    high = min([1.0, *(bound.high for bound in bounds)])
    return (*layers[:first], Clip(_logit(low), _logit(high)), *layers[last + 1 :])


def _logit(probability: float) -> float:
    if probability in (0.0, 1.0):
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def _same(one: Any, other: Any) -> bool:
    """Whether two things hold the same numbers."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))
    if is_dataclass(one):
        return type(one) is type(other) and all(
            _same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    return np.array_equal(one, other)
