"""What a torch network reads: named features and windows of sessions, scaled; the same in torch and in a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fusion.teachers.examples import Examples, Windows
from fusion.teachers.inputs import Scaling
from fusion.teachers.onnx_teacher import FEATURES, SEQUENCES
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph
    from fusion.teachers.teacher import Task


@dataclass(frozen=True, slots=True)
class ScaledInputs:
    """Which inputs there are, and how each is scaled.

    Attributes:
        names: of the features.
        features: their scaling.
        sequences: that of the sequences; None where they are not read.
    """

    names: tuple[str, ...]
    features: Scaling
    sequences: Scaling | None

    @classmethod
    def measure(cls, task: Task, *, sequences: bool) -> ScaledInputs:
        """Measure the training rows of a task."""
        names = task.usable_features()
        features = Scaling.of_features(task.features(task.training, names))
        if not sequences:
            return cls(names, features, None)
        anchors = Windows.shared(task.dataset.histories, task.training).anchors
        return cls(names, features, Scaling.of_sequences(task.dataset.sequences(anchors)))

    def shared(self, task: Task, rows: NDArray[np.int64]) -> tuple[Examples, NDArray[np.int64]]:
        """Examples for training, rows of one player in shared windows; and the rows in the examples' order."""
        windows = Windows.own(rows) if self.sequences is None else Windows.shared(task.dataset.histories, rows)
        return self._examples(task, windows), windows.rows

    def own(self, task: Task, rows: NDArray[np.int64]) -> Examples:
        """Examples as they are served, every row with its own window."""
        return self._examples(task, Windows.own(rows))

    def _examples(self, task: Task, windows: Windows) -> Examples:
        sequences = None
        if self.sequences is not None:
            sequences = torch.from_numpy(self.sequences.apply(task.dataset.sequences(windows.anchors)))
        return Examples(
            torch.from_numpy(self.features.apply(task.features(windows.rows, self.names))),
            torch.from_numpy(task.targets(windows.rows)),
            sequences,
            torch.from_numpy(windows.window),
            torch.from_numpy(windows.place),
        )

    def add_to(self, graph: Graph) -> tuple[str, str | None]:
        """The inputs of a graph, scaled: features, and sequences where they are read."""
        features = self.features.add_to(graph, graph.input(FEATURES, self.features.median.shape))
        if self.sequences is None:
            return features, None
        raw = graph.input(SEQUENCES, (SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)))
        return features, self.sequences.add_to(graph, raw)
