"""Columnwise layers: torch and the graph compute what the layers say, and the reader knows them again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
import torch

from fusion.branching.columnwise import add_to, compute, is_columnwise, some_columns
from fusion.onnx_graph import Graph
from fusion.teachers.structure import Activation, Affine, Chain, Clip, Function, Impute, LayerNorm
from fusion.teachers.structure_reader import read_structure
from tests.support.layers import compute as oracle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.branching.columnwise import Columnwise

COLUMNS = 4


def _row(*values: float) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


LAYERS: dict[str, Columnwise] = {
    **{each.value: Activation(each, 0.3) for each in Function if each is not Function.SOFTMAX},
    "impute": Impute(_row(1, 2, 3, 4)),
    "impute one number": Impute(_row(7)),
    "affine": Affine(_row(1, 2, -3, 0.5), _row(0, 1, 2, 3)),
    "affine without inverse": Affine(_row(1, 0, 3, 4), _row(0, 1, 2, 3)),
    "affine of one number": Affine(_row(2), _row(1)),
    "bounds": Clip(-0.5, 0.7),
    "lower bound": Clip(0.1, math.inf),
    "no bounds": Clip(-math.inf, math.inf),
}


def _values(name: str) -> NDArray[np.float32]:
    draw = np.random.default_rng(0)
    if name in ("logit", "log1p"):
        return draw.uniform(0.05, 0.95, (20, COLUMNS)).astype(np.float32)
    values = draw.normal(size=(20, COLUMNS)).astype(np.float32)
    if name.startswith("impute"):
        values[::3, 1] = np.nan
    return values


@pytest.mark.parametrize("name", LAYERS)
def test_torch_and_the_graph_compute_what_the_layer_says(name: str) -> None:
    layer, values = LAYERS[name], _values(name)
    assert is_columnwise(layer)
    expected = oracle(Chain("features", (layer,)), {"features": values})
    np.testing.assert_allclose(compute((layer,), torch.from_numpy(values)).numpy(), expected, rtol=1e-5, atol=1e-6)
    graph = Graph("test")
    model = graph.serialise(add_to(graph, (layer,), graph.input("features", (COLUMNS,))), "links", COLUMNS)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got = session.run(["links"], {"features": values})[0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    chain = read_structure(model)
    assert isinstance(chain, Chain)
    np.testing.assert_allclose(oracle(chain, {"features": values}), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_some_columns_are_what_the_whole_makes_of_them(name: str) -> None:
    layer, values, index = LAYERS[name], torch.from_numpy(_values(name)), np.array([3, 1])
    expected = compute((layer,), values)[:, index]
    got = compute((some_columns(layer, index),), values[:, index])
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_layers_over_all_columns_are_not_columnwise() -> None:
    assert not is_columnwise(Activation(Function.SOFTMAX))
    assert not is_columnwise(LayerNorm(_row(1), _row(0), 1e-5))
