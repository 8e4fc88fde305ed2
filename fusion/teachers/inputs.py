"""Numeric inputs made fit for a network: imputed, compressed, standardised. Once in NumPy, once as ONNX nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph

_CLIP: Final = np.float32(6.0)
"""Standard deviations beyond which an input is cut off: a rare outlier must not drive a network."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """NaN → median, then sign(x)·log(1 + |x|) (play times and gaps have heavy tails), then (y - mean) / deviation.

    Attributes:
        median: (features,) float32, replaces what is unknown.
        mean: (features,) float32, on the compressed scale.
        deviation: (features,) float32, on the compressed scale, never 0.
    """

    median: NDArray[np.float32]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]

    @classmethod
    def of_features(cls, features: NDArray[np.float32]) -> Scaling:
        """Measure (rows, features); every column must be known somewhere."""
        median = np.nanmedian(features, axis=0).astype(np.float32)
        compressed = _compress(np.where(np.isnan(features), median, features)).astype(np.float64)
        return cls(median, compressed.mean(axis=0).astype(np.float32), _safe(compressed.std(axis=0)))

    @classmethod
    def of_sequences(cls, sequences: NDArray[np.float32]) -> Scaling:
        """Measure (rows, T, channels) where a session is present; zeros stay zeros, so padding stays padding."""
        present = sequences[..., 0] > 0
        zeros = np.zeros(sequences.shape[-1], dtype=np.float32)
        squares = (_compress(sequences[present]).astype(np.float64) ** 2).mean(axis=0)
        return cls(zeros, zeros, _safe(np.sqrt(squares)))

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scaled values; the last axis of `values` is the one that was measured."""
        known = np.where(np.isnan(values), self.median, values)
        scaled = (_compress(known) - self.mean) / self.deviation
        return np.asarray(np.clip(scaled, -_CLIP, _CLIP), dtype=np.float32)

    def add_to(self, graph: Graph, value: str) -> str:
        """The same as nodes of a graph."""
        known = graph.op("Where", graph.op("IsNaN", value), graph.constant(self.median), value)
        magnitude = graph.op("Log", graph.op("Add", graph.op("Abs", known), graph.constant(1.0)))
        compressed = graph.op("Mul", graph.op("Sign", known), magnitude)
        scaled = graph.op("Div", graph.op("Sub", compressed, graph.constant(self.mean)), graph.constant(self.deviation))
        return graph.op("Clip", scaled, graph.constant(-_CLIP), graph.constant(_CLIP))


def _compress(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sign(values) * np.log(np.abs(values) + np.float32(1.0))


def _safe(deviation: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)
