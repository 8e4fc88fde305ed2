"""A teacher as a branch of its own inside the served graph: it reads the served features and answers unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import version_converter

from fusion.errors import FusionError
from fusion.onnx_graph import ML_DOMAIN, ML_OPSET, OPSET, Graph
from fusion.teachers.onnx_teacher import FEATURES, LINKS
from fusion.teachers.session import open_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.network import FusedNetwork
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from inference.contract.behaviours import Behaviour


@dataclass(frozen=True, slots=True)
class Branch:
    """A teacher that answers for some behaviours in the fused network's place.

    Attributes:
        teacher: reads features alone, no sessions one by one: the served graph has none.
        behaviours: names of those that it answers for.
    """

    teacher: OnnxTeacher
    behaviours: tuple[str, ...]

    @property
    def part(self) -> str:
        """Name of its part of the graph."""
        return f"private {self.teacher.card.name}"

    def check(self) -> None:
        """Refuse a teacher that cannot be a branch.

        Raises:
            FusionError: it reads sessions one by one, or its operators are of a version that does not fit ours.
        """
        card = self.teacher.card
        if card.uses_sequences:
            raise FusionError(
                f"teacher {card.name}",
                got="a model that reads sessions one by one",
                expected="one that reads the served features alone, for the served graph has no other input",
            )
        graph = Graph("branch")
        links = self.add_to(graph, graph.input(FEATURES, (len(card.features),)), card.features)
        try:
            model = graph.serialise(graph.op("Concat", *links.values(), axis=1), LINKS, len(links))
        except Exception as error:  # the checker's exceptions share no public base class
            raise self._misfit(error) from error
        open_session(model, f"teacher {card.name} as a branch")

    def add_to(self, graph: Graph, features: str, names: Sequence[str]) -> dict[str, str]:
        """Add its nodes to a graph.

        Args:
            graph: to add to.
            features: value (rows, names) of that graph, NaN where missing.
            names: of its columns.

        Returns:
            Behaviour → value (rows, 1) of that graph, its links.

        Raises:
            FusionError: its operators cannot be brought to our version.
        """
        card = self.teacher.card
        with graph.part(self.part):
            columns = graph.constant([names.index(name) for name in card.features], np.int64)
            read = graph.op("Gather", features, columns, axis=1)
            links = graph.include(self._in_our_version(), {FEATURES: read}, prefix=f"{self.part}/")[LINKS]
            return {
                name: graph.op("Gather", links, graph.constant([card.behaviour_names.index(name)], np.int64), axis=1)
                for name in self.behaviours
            }

    def links(self, features: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Behaviour → (rows,) links of the teacher itself, about features (rows, names)."""
        card = self.teacher.card
        said = self.teacher.links(np.ascontiguousarray(features[:, [names.index(name) for name in card.features]]))
        return {name: said[:, card.behaviour_names.index(name)] for name in self.behaviours}

    def _in_our_version(self) -> onnx.ModelProto:
        """Of a graph, all operators of one domain are of one version: a file of another one is converted."""
        model = onnx.load_model_from_string(self.teacher.model)
        versions = {opset.domain: opset.version for opset in model.opset_import}
        if versions.get("", OPSET) != OPSET:
            try:
                model = version_converter.convert_version(model, OPSET)
            except Exception as error:  # the converter's exceptions share no public base class
                raise self._misfit(error) from error
        for opset in model.opset_import:
            if opset.domain == ML_DOMAIN:
                opset.version = max(opset.version, ML_OPSET)  # later versions of these read what earlier ones wrote
        return model

    def _misfit(self, error: Exception) -> FusionError:
        return FusionError(
            f"teacher {self.teacher.card.name}",
            got=f"operators that do not fit the served graph ({error})",
            expected=f"a model that ONNX can express in operators of version {OPSET}",
            fix=f"Export it with opset {OPSET}.",
        )


def served_features(network: FusedNetwork, branches: Sequence[Branch]) -> tuple[str, ...]:
    """What the graph reads: the network's features first, then those that only branches need."""
    own = network.encoding.features
    extra = dict.fromkeys(name for branch in branches for name in branch.teacher.card.features if name not in own)
    return (*own, *extra)


def without(branches: Sequence[Branch], name: str) -> tuple[Branch, ...]:
    """The branches when none answers for a behaviour any more; one that has nothing left to answer goes."""
    left = ((branch.teacher, tuple(one for one in branch.behaviours if one != name)) for branch in branches)
    return tuple(Branch(teacher, behaviours) for teacher, behaviours in left if behaviours)


def replace_columns(
    links: NDArray[np.float32],
    features: NDArray[np.float32],
    names: Sequence[str],
    behaviours: Sequence[Behaviour],
    branches: Sequence[Branch],
) -> NDArray[np.float32]:
    """The network's links (rows, behaviours), with the branches' in their columns: features are (rows, names)."""
    said = {name: value for branch in branches for name, value in branch.links(features, names).items()}
    columns = [said.get(behaviour.name, links[:, column]) for column, behaviour in enumerate(behaviours)]
    return np.stack(columns, axis=1)
