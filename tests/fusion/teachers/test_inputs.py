"""Scaling, in NumPy and as nodes of a graph."""

from __future__ import annotations

import numpy as np
import onnxruntime
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion.onnx_graph import Graph
from fusion.teachers.inputs import Scaling

FINITE = st.floats(-1e6, 1e6, width=32)


def _features() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    features = np.stack((rng.gamma(0.5, 40, 500), rng.normal(size=500), np.full(500, 3.0)), axis=1)
    features[::7, 0] = np.nan
    return features.astype(np.float32)


def test_what_was_measured_comes_out_standardised() -> None:
    features = _features()
    scaled = Scaling.of_features(features).apply(features)
    np.testing.assert_allclose(scaled[:, :2].mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(scaled[:, :2].std(axis=0), 1, atol=0.05)


def test_unknown_is_the_median_and_outliers_are_cut_off() -> None:
    features = _features()
    scaling = Scaling.of_features(features)
    median = np.nanmedian(features, axis=0)
    rows = np.array([[np.nan, np.nan, np.nan], median, [1e30, -1e30, 3.0]], dtype=np.float32)
    scaled = scaling.apply(rows)
    np.testing.assert_array_equal(scaled[0], scaled[1])
    assert scaled[2].tolist() == [6.0, -6.0, 0.0]


def test_padding_of_sequences_stays_zero() -> None:
    sequences = np.zeros((3, 4, 2), dtype=np.float32)
    sequences[:, 2:, 0] = 1
    sequences[:, 2:, 1] = np.arange(6).reshape(3, 2)
    scaled = Scaling.of_sequences(sequences).apply(sequences)
    assert not scaled[:, :2].any()
    np.testing.assert_allclose((scaled[:, 2:] ** 2).mean(axis=(0, 1)), 1, rtol=1e-5)


@given(rows=arrays(np.float32, (4, 3), elements=FINITE | st.just(float("nan"))))
def test_the_graph_scales_as_numpy_does(rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    scaling = Scaling.of_features(_features())
    graph = Graph("test")
    model = graph.serialise(scaling.add_to(graph, graph.input("x", (3,))), "y", 3)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(["y"], {"x": rows})[0], scaling.apply(rows), atol=2e-5)
