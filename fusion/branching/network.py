"""A network of a shared part and a part per behaviour.

    features → shared neurons, level by level ─┬→ neurons of one behaviour, which read shared ones and their own → link
                                               ├→ neurons of another → link
                                               └→ ...

Shared neurons read shared ones only, so a behaviour that is not asked for takes its neurons with it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn

from fusion.branching import columnwise
from fusion.branching.ownership import NOBODY, SHARED, Owners, allowed
from fusion.branching.reading import DenseNetwork, Level
from fusion.branching.trace import answered
from fusion.distill.student import Rows
from fusion.training import Learner
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph

SHARED_PART: Final = "shared"
"""Name of the part of the graph that all behaviours need."""


class BranchedNetwork(Learner[Rows]):
    """See the module's docstring.

    Args:
        network: zero wherever a unit reads what it may not.
        owners: of its units; those of nobody are left out.
    """

    def __init__(self, network: DenseNetwork, owners: Owners) -> None:
        super().__init__()
        below = np.full(len(network.columns), SHARED)
        weights, levels, self.owners = [], [], []
        kept = np.arange(len(below))
        for level, own in zip(network.levels, owners, strict=True):
            used = np.flatnonzero(own != NOBODY)
            levels.append(level.units(used))
            weights.append(Weight(levels[-1].weight[:, kept]))
            weights[-1].mask = torch.from_numpy(allowed(own[used], below[kept]).astype(np.float32))
            self.owners.append(own[used])
            below, kept = own, used
        self.weights = nn.ModuleList(weights)
        self.biases = nn.ModuleList(Weight(level.bias) for level in levels)
        self._shape = replace(network, levels=tuple(levels))

    @property
    def columns(self) -> NDArray[np.int64]:
        """(inputs,) which of the teacher's features are read."""
        return self._shape.columns

    @property
    def output_bias(self) -> nn.Parameter:
        """(behaviours,) bias of the scores."""
        return _weight(self.biases[-1]).array

    @property
    def parameter_count(self) -> int:
        """Weights and biases that are stored; what was cut is not."""
        return sum(_weight(weight).kept for weight in (*self.weights, *self.biases))

    def parameters_of(self, owner: int) -> int:
        """Those of `SHARED` units, or of one behaviour's."""
        count = 0
        for weight, own in zip(self.weights, self.owners, strict=True):
            mask = _weight(weight).mask
            assert mask is not None
            rows = torch.from_numpy(own == owner)
            count += int(mask[rows].count_nonzero()) + int(rows.count_nonzero())
        return count

    def forward(self, examples: Rows) -> Tensor:
        """(rows, behaviours) links of raw features, NaN where unknown, in the order of `columns`."""
        value = columnwise.compute(self._shape.before, examples.features)
        for weight, bias, level in zip(self.weights, self.biases, self._shape.levels, strict=True):
            value = columnwise.compute(level.after, value @ weight().T + bias())
        return answered(self._shape, value)

    def part(self, behaviour: int) -> BranchedNetwork:
        """What one behaviour needs, and no more: a plain network of one score, from the features that reach it."""
        *hidden, scores = self._plain()
        levels = [scores.units(np.array([behaviour]))]
        for level in reversed(hidden):
            read = _read(levels[0])
            levels[0] = levels[0].reading(read)
            levels.insert(0, level.units(read))
        needed = _read(levels[0])
        levels[0] = levels[0].reading(needed)
        before = tuple(columnwise.some_columns(layer, needed) for layer in self._shape.before)
        alone = DenseNetwork(self.columns[needed], before, tuple(levels), (self._shape.answers[behaviour],))
        shared = tuple(np.full(len(level.bias), SHARED) for level in levels[:-1])
        found = BranchedNetwork(alone, (*shared, np.array([0])))
        for weight in found.weights:
            # Private units stay unread by shared ones: the zeros between them are no parameters.
            mine = _weight(weight)
            mine.mask = torch.from_numpy((mine.numpy() != 0).astype(np.float32))
        return found

    def add_to(self, graph: Graph, features: str, names: Sequence[str]) -> str:
        """Nodes of a graph from (rows, columns) raw features to links; each part's nodes are named after it.

        Args:
            graph: to add to.
            features: name of the value.
            names: of the behaviours.
        """
        with graph.part(SHARED_PART):
            start = columnwise.add_to(graph, self._shape.before, features)
        levels = self._plain()
        behaviours = range(len(names))
        below = np.full(len(self.columns), SHARED)
        values: dict[int, str] = {SHARED: start}
        for level, own in zip(levels, self.owners, strict=True):
            made: dict[int, str] = {}
            for owner in (SHARED, *behaviours):
                units = np.flatnonzero(own == owner)
                if len(units):
                    with graph.part(SHARED_PART if owner == SHARED else names[owner]):
                        mine = level.units(units)
                        made[owner] = _add_units(graph, mine, owner, below, values, start, len(self.columns))
            values, below = made, own
        links = []
        for behaviour, layers in enumerate(self._shape.answers):
            with graph.part(names[behaviour]):
                links.append(columnwise.add_to(graph, layers, values[behaviour]))
        return graph.op("Concat", *links, axis=1) if len(links) > 1 else links[0]

    def _plain(self) -> list[Level]:
        """The levels as they stand now."""
        return [
            Level(_weight(weight).numpy().astype(np.float64), _weight(bias).numpy().astype(np.float64), level.after)
            for weight, bias, level in zip(self.weights, self.biases, self._shape.levels, strict=True)
        ]


def _add_units(
    graph: Graph,
    level: Level,
    owner: int,
    below: NDArray[np.int64],
    values: dict[int, str],
    start: str,
    inputs: int,
) -> str:
    """Units of one owner, which read shared ones and their own.

    Args:
        graph: to add to.
        level: of these units only.
        owner: of the units.
        below: (inputs,) owners of all that the level could read.
        values: of the level below, by owner.
        start: what the first level reads: units that read nothing still have to answer every row.
        inputs: how many columns that has.
    """
    sources = [source for source in dict.fromkeys((SHARED, owner)) if source in values]
    if sources:
        parts = [values[source] for source in sources]
        value = graph.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        level = level.reading(np.concatenate([np.flatnonzero(below == source) for source in sources]))
    else:
        value, level = start, Level(np.zeros((len(level.bias), inputs)), level.bias, level.after)
    return columnwise.add_to(graph, level.after, graph.linear(value, level.weight, level.bias))


def _read(level: Level) -> NDArray[np.int64]:
    """What the units of a level read; where that is nothing at all, the first input, times zero."""
    read = np.flatnonzero((level.weight != 0).any(axis=0))
    return read if len(read) else np.zeros(1, dtype=np.int64)


def _weight(module: nn.Module) -> Weight:
    assert isinstance(module, Weight)
    return module
