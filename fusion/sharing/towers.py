"""Networks of several teachers as towers over one set of features: the union of what they read.

A tower that lacks a feature has zeros for it, and one that is narrower than the others has silent units: both are no
numbers of anybody's, which the masks say ("don't care").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fusion.branching.reading import read_levels
from fusion.errors import FusionError
from fusion.lowrank.alignment import Tower
from fusion.teachers.structure import Activation, Affine, Function, Impute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.branching.columnwise import Columnwise
    from fusion.branching.reading import DenseNetwork
    from fusion.teachers.onnx_teacher import OnnxTeacher

_RELU = Activation(Function.RELU)


@dataclass(frozen=True, slots=True, eq=False)
class Towers:
    """Networks side by side.

    Attributes:
        features: that at least one of them reads.
        before: what is done to the features first, the same for all.
        towers: of equal shapes: the narrower ones are filled up with zeros.
        widths: per tower, units of every level, from the features to the scores: what of the shapes is its own.
        reads: per tower, (features,) whether it reads each of them.
        answers: per tower and behaviour, from its score to its link.
        networks: as they were read.
        names: per tower, its features in its own order.
    """

    features: tuple[str, ...]
    before: tuple[Columnwise, ...]
    towers: tuple[Tower, ...]
    widths: tuple[tuple[int, ...], ...]
    reads: tuple[NDArray[np.bool_], ...]
    answers: tuple[tuple[tuple[Columnwise, ...], ...], ...]
    networks: tuple[DenseNetwork, ...]
    names: tuple[tuple[str, ...], ...]

    def own(self, level: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of a level's weights, (towers, out) and (towers, in): which units and inputs are a tower's own."""
        out, inputs = self.towers[0].weights[level].shape
        units = np.array([np.arange(out) < widths[level] for widths in self.widths])
        below = [np.arange(inputs) < widths[level - 1] for widths in self.widths] if level else self.reads
        return units, np.array(below)

    @property
    def parameter_count(self) -> int:
        """Numbers of all towers, without what fills them up."""
        return sum(
            out * (int(reads.sum()) if level == 0 else widths[level - 1]) + out
            for widths, reads in zip(self.widths, self.reads, strict=True)
            for level, out in enumerate(widths)
        )


def read_towers(teachers: Sequence[OnnxTeacher]) -> Towers:
    """The networks of some teachers, over the union of their features.

    Args:
        teachers: of ReLU levels over features, ours (family mlp) or imported, all of as many levels.

    Raises:
        FusionError: one is another kind of network, has another depth, or does something else to a feature that
            another one reads too.
    """
    found = [_folded(read_levels(teacher)) for teacher in teachers]
    wheres = [f"teacher {teacher.card.name} of family {teacher.card.family}" for teacher in teachers]
    for where, network in zip(wheres, found, strict=True):
        _check(where, network, len(found[0].levels))
    names = [
        tuple(teacher.card.features[column] for column in network.columns)
        for teacher, network in zip(teachers, found, strict=True)
    ]
    features = tuple(dict.fromkeys(name for own in names for name in own))
    widest = [max(len(network.levels[level].bias) for network in found) for level in range(len(found[0].levels))]
    columns = [np.array([features.index(name) for name in own]) for own in names]
    return Towers(
        features=features,
        before=_before(wheres, [network.before for network in found], columns, features),
        towers=tuple(_padded(network, own, len(features), widest) for network, own in zip(found, columns, strict=True)),
        widths=tuple(tuple(len(level.bias) for level in network.levels) for network in found),
        reads=tuple(np.isin(np.arange(len(features)), own) for own in columns),
        answers=tuple(network.answers for network in found),
        networks=tuple(found),
        names=tuple(names),
    )


def _folded(network: DenseNetwork) -> DenseNetwork:
    """Scalings right before the first level become part of it: what remains is more often the same for all."""
    before, first = list(network.before), network.levels[0]
    weight, bias = first.weight, first.bias
    while before and isinstance(last := before[-1], Affine):
        bias = bias + weight @ np.broadcast_to(last.shift, weight.shape[1]).astype(np.float64)
        weight = weight * last.scale
        before.pop()
    level = replace(first, weight=np.asarray(weight), bias=np.asarray(bias))
    return replace(network, before=tuple(before), levels=(level, *network.levels[1:]))


def _check(where: str, network: DenseNetwork, depth: int) -> None:
    if len(network.levels) != depth:
        raise FusionError(
            where,
            got=f"{len(network.levels)} levels",
            expected=f"{depth}, as the first one has",
            fix="Share factors among networks of equal depth; distil others together by fusing them.",
        )
    *hidden, _ = network.levels
    strange = [level.after for level in hidden if level.after != (_RELU,)]
    if strange:
        raise FusionError(
            where,
            got=f"a level followed by {', '.join(type(layer).__name__ for layer in strange[0]) or 'nothing'}",
            expected="ReLU after every hidden level",
            fix="Distil it with others by fusing them.",
        )


def _before(
    wheres: Sequence[str],
    layers: Sequence[tuple[Columnwise, ...]],
    columns: Sequence[NDArray[np.int64]],
    features: tuple[str, ...],
) -> tuple[Columnwise, ...]:
    """What is done to the union of the features; every tower's own columns of it are what that tower does.

    Raises:
        FusionError: two towers do different things to a feature that both read.
    """
    kinds = [[_kind(layer) for layer in each] for each in layers]
    for where, own in zip(wheres, kinds, strict=True):
        if own != kinds[0]:
            raise _scaled_differently(where, "features")
    union: list[Columnwise] = []
    for number, first in enumerate(layers[0]):
        if not isinstance(first, Affine | Impute):
            union.append(first)
            continue
        arrays = [np.full(len(features), np.nan, dtype=np.float32) for _ in _arrays(first)]
        for where, each, index in zip(wheres, layers, columns, strict=True):
            for whole, array in zip(arrays, _arrays(each[number]), strict=True):
                mine = np.broadcast_to(array, len(index))
                known = ~np.isnan(whole[index])
                differs = known & ~np.isclose(whole[index], mine, rtol=1e-4, atol=1e-6)
                if differs.any():
                    raise _scaled_differently(where, features[int(index[differs][0])])
                whole[index[~known]] = mine[~known]
        union.append(Impute(arrays[0]) if isinstance(first, Impute) else Affine(arrays[0], arrays[1]))
    return tuple(union)


def _kind(layer: Columnwise) -> object:
    """What has to be the same of a layer whatever its columns."""
    return type(layer) if isinstance(layer, Affine | Impute) else layer


def _arrays(layer: Columnwise) -> tuple[NDArray[np.float32], ...]:
    if isinstance(layer, Affine):
        return layer.scale, layer.shift
    assert isinstance(layer, Impute)
    return (layer.values,)


def _scaled_differently(where: str, name: str) -> FusionError:
    return FusionError(
        where,
        got=f"{name} scaled, or filled in where unknown, in another way than an earlier teacher does",
        expected="one scaling of every feature: weights over different ones have nothing in common",
        fix="Train them with one scaling, as networks of one ancestor have it, or distil them by fusing them.",
    )


def _padded(network: DenseNetwork, columns: NDArray[np.int64], features: int, widest: Sequence[int]) -> Tower:
    weights, biases = [], []
    inputs, index = features, columns
    for level, width in zip(network.levels, widest, strict=True):
        weight, bias = np.zeros((width, inputs)), np.zeros(width)
        weight[: len(level.bias), index], bias[: len(level.bias)] = level.weight, level.bias
        weights.append(weight)
        biases.append(bias)
        inputs, index = width, np.arange(len(level.bias))
    return Tower(tuple(weights), tuple(biases))
