"""Statistics price an error: exactly where the network is linear, per call, and without padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fusion.lowrank.layer import LowRankLayer
from fusion.lowrank.sensitivity import layer_metrics, layer_statistics, measure
from fusion.network import LAYERS
from tests.support.works import features, small_work

RNG = np.random.default_rng(0)


def test_cost_is_the_mean_squared_change_of_the_predictions_of_a_linear_network() -> None:
    x, reader = RNG.normal(size=(400, 6)) + 1.0, RNG.normal(size=(5, 3))
    weight, error = RNG.normal(size=(5, 6)), RNG.normal(size=(5, 6))
    layer = LowRankLayer(weight, out_modes=1)

    def predict() -> Tensor:
        links: Tensor = layer(torch.tensor(x, dtype=torch.float32)) @ torch.tensor(reader, dtype=torch.float32)
        return links

    found = measure({"layer": layer}, predict)["layer"]
    spread = predict().detach().double().std(dim=0).numpy()
    change = ((x @ error.T @ reader) / spread) ** 2
    assert found.cost(error) == pytest.approx(change.sum(axis=1).mean(), rel=1e-4)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-5)


def test_a_layer_that_is_called_twice_counts_twice() -> None:
    x = torch.tensor(RNG.normal(size=(300, 4)), dtype=torch.float32)
    layer = LowRankLayer(RNG.normal(size=(2, 4)), out_modes=1)

    def predict(calls: int) -> Tensor:
        links: Tensor = sum((layer(x) for _ in range(calls)), start=torch.zeros(300, 2))
        return links / calls

    once, twice = (measure({"layer": layer}, lambda calls=calls: predict(calls))["layer"] for calls in (1, 2))  # type: ignore[misc]
    np.testing.assert_allclose(twice.gradients, once.gradients / 2, rtol=1e-5)
    np.testing.assert_allclose(twice.inputs, once.inputs, rtol=1e-5)


def test_rows_that_reach_no_prediction_are_not_read() -> None:
    x = torch.tensor(RNG.normal(size=(200, 4)), dtype=torch.float32)
    layer = LowRankLayer(RNG.normal(size=(3, 4)), out_modes=1)
    found = measure({"layer": layer}, lambda: layer(x)[:50])["layer"]
    kept = x[:50].double().numpy()
    np.testing.assert_allclose(found.inputs, kept.T @ kept / 50, rtol=1e-5)


def test_the_fused_network_has_a_metric_per_mode_of_every_layer() -> None:
    network, rows = small_work().network, features(400, seed=1)
    metrics, found = layer_metrics(network, rows), layer_statistics(network, rows)
    for name in LAYERS:
        shape = network.layer(name).shape
        sizes = tuple(None if root is None else len(root) for root in metrics[name].roots)
        assert sizes == ((None, *shape[1:]) if name == "layers" else shape)
        assert found[name].cost(network.layer(name).tensor()) > 0
    # A behaviour's own units matter to that behaviour alone.
    behaviours, units, _ = network.layers.shape
    blocks = found["layers"].gradients.reshape(behaviours, units, behaviours, units)
    assert not any(blocks[i, :, j].any() for i in range(behaviours) for j in range(behaviours) if i != j)
