"""Tensor-train tables: exact at full rank, planted ranks recovered, ONNX Runtime and torch agree, nothing rebuilt."""

from __future__ import annotations

from math import prod

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from fusion.errors import FusionError
from fusion.lowrank.embedding import LARGE, TrainEmbedding, cut
from fusion.onnx_graph import Graph


def _planted(rows: int, rank: int) -> TrainEmbedding:
    rng = np.random.default_rng(rank)
    height = cut(rows, 3)
    bonds = (1, rank, rank, 1)
    shapes = [(bonds[k], height[k], (2, 2, 4)[k], bonds[k + 1]) for k in range(3)]
    return TrainEmbedding([rng.normal(size=shape) for shape in shapes], rows)


@given(rows=st.integers(1, 10**6), parts=st.integers(2, 4))
def test_rows_are_cut_into_factors_that_hold_them_all(rows: int, parts: int) -> None:
    factors = cut(rows, parts)
    assert len(factors) == parts
    assert rows <= prod(factors) < rows + prod(factors[:-1])


def test_full_rank_gives_every_row_back() -> None:
    table = np.random.default_rng(0).normal(size=(50, 6))
    embedding = TrainEmbedding.from_table(table, (2, 3), 1000)
    got = embedding(torch.arange(50)).detach().numpy()
    np.testing.assert_allclose(got, table, atol=1e-5)


def test_a_planted_rank_is_recovered_in_a_large_table() -> None:
    rows = LARGE + 37
    table = _planted(rows, 3)(torch.arange(rows)).detach().numpy().astype(np.float64)
    # What fills the table up is not of that rank: leave it some room.
    found = TrainEmbedding.from_table(table, (2, 2, 4), 5)
    got = found(torch.arange(rows)).detach().numpy()
    assert np.linalg.norm(got - table) <= 1e-5 * np.linalg.norm(table)
    assert found.kept < table.size / 40


def test_the_graph_looks_up_what_torch_does_without_the_table() -> None:
    embedding = _planted(LARGE, 4)
    index = np.random.default_rng(1).integers(0, LARGE, size=200)
    graph = Graph("test")
    # Whatever the graph's inputs are, numbers of rows come as int64.
    digits = graph.op("Cast", graph.input("index", ()), to=TensorProto.INT64)
    model = graph.serialise(embedding.add_to(graph, digits), "rows", 16)
    assert len(model) < LARGE * 16
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got = session.run(["rows"], {"index": index.astype(np.float32)})[0]
    np.testing.assert_allclose(got, embedding(torch.from_numpy(index)).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_it_trains() -> None:
    embedding = _planted(100, 2)
    embedding(torch.tensor([1, 5, 99])).sum().backward()
    assert all(weight.array.grad is not None and weight.array.grad.any() for weight in embedding.weights())


def test_numbers_outside_the_table_and_wrong_factors_are_refused() -> None:
    embedding = _planted(100, 2)
    for index in (-1, 100):
        with pytest.raises(FusionError, match="expected 0 to 99"):
            embedding(torch.tensor([index]))
    for width in ((2, 2), (6,)):
        with pytest.raises(FusionError, match="multiply to 6"):
            TrainEmbedding.from_table(np.ones((9, 6)), width, 2)
