"""Parity torch ↔ ONNX Runtime for every form and execution form, and what the graph holds inside."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion import export
from fusion.encoding import PiecewiseLinearEncoding
from fusion.errors import FusionError
from fusion.execution import choose_execution
from fusion.lowrank import cp, tensor_train, tucker
from fusion.lowrank.metric import Metric
from fusion.lowrank.sensitivity import layer_metrics
from fusion.network import LAYERS, FusedNetwork, Widths
from inference.contract.artifact import PARITY_TOLERANCE
from inference.contract.behaviours import DEFAULT_BEHAVIOURS
from inference.engine import Engine

_BEHAVIOURS = tuple(DEFAULT_BEHAVIOURS.values())


def _features(rows: int = 300, columns: int = 9, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    features = rng.gamma(1.0, 10.0, size=(rows, columns)).astype(np.float32)
    features[rng.random(features.shape) < 0.1] = np.nan
    return features


def _network(*, lowrank: str, behaviours: int = len(_BEHAVIOURS)) -> FusedNetwork:
    encoding = PiecewiseLinearEncoding.fit(_features(), tuple(f"feature_{i}" for i in range(9)), 6)
    network = FusedNetwork(encoding, behaviours, Widths(32, 16, 4), seed=1)
    found = layer_metrics(network, _features())
    ranks: dict[str, dict[str, Any]] = {
        "dense": {},
        "tucker": {"input": (6, 4, 5), "trunk": 5, "layers": (None, 3, 5)},
        "cp": {"input": 7, "trunk": 5, "layers": 6},
        "train": {"input": (6, 5), "trunk": (5,), "layers": (3, 4)},
    }
    for name, wanted in ranks[lowrank].items():
        layer = network.layer(name)
        decompose = cp.decompose if isinstance(wanted, int) else tensor_train.decompose
        form = (tucker.decompose if lowrank == "tucker" and name != "trunk" else decompose)(
            layer.tensor(), wanted, found[name]
        )
        network.replace(name, layer.in_form(form))
    return network


@pytest.mark.parametrize("lowrank", ["dense", "tucker", "cp", "train"])
@pytest.mark.parametrize(
    "dense",
    [frozenset(c) for size in range(4) for c in combinations(LAYERS, size)],
    ids=lambda chosen: "+".join(sorted(chosen)) or "none",
)
def test_every_form_answers_in_onnx_runtime_as_in_torch(lowrank: str, dense: frozenset[str]) -> None:
    network = _network(lowrank=lowrank)
    engine = Engine.from_bytes(export.to_onnx(network, _BEHAVIOURS, dense=dense))
    features = _features(rows=500, seed=7)
    features[0] = np.nan
    features[1] = np.float32(1e6)
    error = export.check_parity(export.served(network, features, _BEHAVIOURS), engine.run(features))
    assert error <= PARITY_TOLERANCE


def test_rows_do_not_influence_each_other() -> None:
    engine = Engine.from_bytes(export.to_onnx(_network(lowrank="tucker"), _BEHAVIOURS))
    features = _features(rows=70, seed=3)
    together = engine.run(features)
    alone = np.concatenate([engine.run(row[None]) for row in features])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)


def test_probabilities_and_amounts_stay_in_range_on_absurd_input() -> None:
    engine = Engine.from_bytes(export.to_onnx(_network(lowrank="cp"), _BEHAVIOURS))
    absurd = np.full((3, 9), np.float32(3e38))
    absurd[1] = -absurd[1]
    absurd[2] = np.nan
    served = engine.run(absurd)
    assert np.isfinite(served).all()
    binary = [behaviour.is_binary for behaviour in _BEHAVIOURS]
    assert ((served[:, binary] >= 0) & (served[:, binary] <= 1)).all()
    assert (served[:, ~np.array(binary)] >= 0).all()


@pytest.mark.parametrize("names", [("churn_7d",), ("sessions_7d",), ("churn_7d", "sessions_7d")])
def test_any_mix_of_kinds_can_be_exported(names: tuple[str, ...]) -> None:
    behaviours = [DEFAULT_BEHAVIOURS[name] for name in names]
    network = _network(lowrank="dense", behaviours=len(names))
    served = Engine.from_bytes(export.to_onnx(network, behaviours)).run(_features(rows=5))
    export.check_parity(export.served(network, _features(rows=5), behaviours), served)


def test_amounts_before_probabilities_are_refused() -> None:
    network = _network(lowrank="dense", behaviours=2)
    wrong = [DEFAULT_BEHAVIOURS["sessions_7d"], DEFAULT_BEHAVIOURS["churn_7d"]]
    with pytest.raises(FusionError, match="probabilities before amounts"):
        export.to_onnx(network, wrong)


def test_the_file_holds_the_factors_not_the_product() -> None:
    dense = export.to_onnx(_network(lowrank="dense"), _BEHAVIOURS)
    small = export.to_onnx(_network(lowrank="tucker"), _BEHAVIOURS, dense=frozenset(LAYERS))
    assert len(small) < len(dense) * 0.7


def test_a_graph_that_disagrees_is_refused() -> None:
    expected = np.array([[0.5, 2.0]])
    assert export.check_parity(expected, expected.astype(np.float32)) < 1e-6
    with pytest.raises(FusionError, match="parity"):
        export.check_parity(expected, np.array([[0.5002, 2.0]], dtype=np.float32))
    with pytest.raises(FusionError, match="parity"):
        export.check_parity(expected, np.array([[np.nan, 2.0]], dtype=np.float32))


def test_probe_replays_on_the_engine_and_covers_missing_values() -> None:
    network = _network(lowrank="tucker")
    probe = export.make_probe(network, _features(), _BEHAVIOURS, rows=5)
    inputs = probe.inputs()
    assert inputs.shape == (5, 9)
    assert np.isnan(inputs[-1]).all()
    outputs = Engine.from_bytes(export.to_onnx(network, _BEHAVIOURS)).run(inputs)
    assert probe.error(outputs) <= PARITY_TOLERANCE
    assert probe.error(outputs + np.float32(0.01)) > PARITY_TOLERANCE


def test_execution_form_is_one_of_those_timed_and_says_so() -> None:
    network = _network(lowrank="tucker")
    execution = choose_execution(network, _BEHAVIOURS, _features())
    assert len(execution.cpu_us) == 8
    assert execution.cpu_us[execution.dense] == min(execution.cpu_us.values())
    assert execution.model == export.to_onnx(network, _BEHAVIOURS, dense=execution.dense)
    assert "µs CPU per lobby" in execution.reason
    assert len(choose_execution(_network(lowrank="dense"), _BEHAVIOURS, _features()).cpu_us) == 1


def test_metric_of_a_layer_foretells_the_change_of_the_links() -> None:
    """The two-sided metric is the second-order cost of an error: a cheap error must change the links less."""
    network = _network(lowrank="dense")
    features = _features(rows=2000, seed=5)
    metric = layer_metrics(network, features)["trunk"]
    before = export.predict_links(network, features)
    rng = np.random.default_rng(0)
    tensor = network.trunk.tensor()
    weight = dict(network.trunk.weights())["tensor"]
    foretold, happened = [], []
    for _ in range(12):
        change = 0.05 * rng.normal(size=tensor.shape) * rng.random(size=(1, tensor.shape[1])) ** 4
        foretold.append(metric.error(tensor, tensor - change))
        with torch.no_grad():
            weight.array.add_(torch.tensor(change, dtype=torch.float32))
            after = export.predict_links(network, features)
            weight.array.sub_(torch.tensor(change, dtype=torch.float32))
        happened.append(float(np.sqrt(np.mean(((after - before) / before.std(axis=0)) ** 2))))
    assert np.corrcoef(foretold, happened)[0, 1] > 0.9


def test_parameters_count_every_stored_number() -> None:
    network = _network(lowrank="tucker")
    trained = sum(parameter.numel() for parameter in network.parameters())
    medians, knots = 9, (6 + 1) * 9
    assert network.parameter_count == trained + medians + knots
    assert Metric.plain(3).error(network.input.tensor(), network.input.tensor()) == 0.0
