"""Networks with planted owners: who needs which neuron is known beforehand."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fusion.branching.ownership import SHARED, Owners, allowed
from fusion.branching.reading import DenseNetwork, Level
from fusion.onnx_graph import Graph
from fusion.teachers.structure import Activation, Affine, Function, Impute

BEHAVIOURS: Final = 3
FEATURES: Final = 6
_TANH: Final = Activation(Function.TANH)
"""Every unit has a slope everywhere: none is nobody's by chance."""


def planted(seed: int, *, noise: float = 0.0, hidden: tuple[int, ...] = (14, 11)) -> tuple[DenseNetwork, Owners]:
    """Hidden levels with shared units and units of each behaviour in any order; `noise` is what leaks between them."""
    draw = np.random.default_rng(seed)
    below = np.full(FEATURES, SHARED)
    levels: list[Level] = []
    owners: list[NDArray[np.int64]] = []
    for width in (*hidden, BEHAVIOURS):
        last = len(levels) == len(hidden)
        own = np.arange(BEHAVIOURS) if last else draw.permutation(np.resize(np.arange(SHARED, BEHAVIOURS), width))
        weight = draw.uniform(0.5, 1.5, (width, len(below))) * draw.choice((-1.0, 1.0), (width, len(below)))
        weight *= np.where(allowed(own, below), 1.0, noise) / np.sqrt(len(below))
        levels.append(Level(weight, draw.uniform(0.2, 0.6, width), () if last else (_TANH,)))
        owners.append(own)
        below = own
    scaling = Affine(np.full(FEATURES, 0.5, dtype=np.float32), np.full(FEATURES, 0.1, dtype=np.float32))
    before = (Impute(np.zeros(FEATURES, dtype=np.float32)), scaling)
    return DenseNetwork(np.arange(FEATURES), before, tuple(levels), ((),) * BEHAVIOURS), tuple(owners)


def rows(count: int = 400, seed: int = 1) -> NDArray[np.float32]:
    """(count, features) standard normal, a few unknown."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(count, FEATURES)).astype(np.float32)
    values[draw.random(values.shape) < 0.05] = np.nan
    return values


def answers(network: DenseNetwork, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(rows, behaviours) of a planted network, in NumPy."""
    value = np.nan_to_num(features.astype(np.float64)) * 0.5 + np.float64(np.float32(0.1))
    for number, level in enumerate(network.levels):
        value = (np.tanh(value) if number else value) @ level.weight.T + level.bias
    return value


def as_model(network: DenseNetwork, *, scale: float = 0.5) -> bytes:
    """A studio's own file of a planted network, from "x" to "y"."""
    graph = Graph("studio")
    value = graph.op("Add", graph.op("Mul", graph.input("x", (FEATURES,)), graph.constant(scale)), graph.constant(0.1))
    for number, level in enumerate(network.levels):
        value = graph.linear(graph.op("Tanh", value) if number else value, level.weight, level.bias)
    return graph.serialise(value, "y", BEHAVIOURS)
