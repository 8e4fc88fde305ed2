"""Stacked towers: the same answers as one by one, in torch and in one graph, in every form; they train and share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from fusion.distill.student import Rows
from fusion.errors import FusionError
from fusion.lowrank import cp, tucker
from fusion.lowrank.alignment import Tower, aligned
from fusion.lowrank.form import Form
from fusion.lowrank.metric import Metric
from fusion.lowrank.stack_forms import anchored, basis, per_model_svd
from fusion.lowrank.stacked import StackedNetwork
from fusion.onnx_graph import Graph
from fusion.training import Schedule, predict, train
from tests.fusion.lowrank.test_alignment import WIDTHS, answers, tower
from tests.support.works import BEHAVIOURS

MODELS = 3
PLAIN, PAIR = Metric.plain(3), [Metric.plain(2)] * MODELS
FORMS: dict[str, Callable[[NDArray[np.float64]], Sequence[Form]]] = {
    "svd": lambda stack: [per_model_svd(stack, 2, PAIR)],
    "tucker-2": lambda stack: [tucker.decompose(stack, (None, 2, 4), PLAIN)],
    "cp": lambda stack: [cp.decompose(stack, 4, PLAIN)],
    "basis of the inputs": lambda stack: [basis(stack, 3, PLAIN, "in")],
    "basis of the outputs": lambda stack: [basis(stack, 2, PLAIN, "out")],
    "anchored": lambda stack: anchored(stack, 1, PAIR),
}


def _rows(seed: int = 9, rows: int = 60) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, WIDTHS[0]))


def _links(network: StackedNetwork, x: NDArray[np.float64]) -> NDArray[np.float32]:
    features = torch.tensor(x, dtype=torch.float32)
    return predict(network, Rows(features, torch.zeros(len(x), 1)))


def _check_graph(network: StackedNetwork, x: NDArray[np.float64]) -> None:
    graph = Graph("test")
    expected = _links(network, x)
    value = network.add_to(graph, graph.input("x", (WIDTHS[0],)))
    model = graph.serialise(value, "y", expected.shape[1])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got = session.run(["y"], {"x": x.astype(np.float32)})[0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_dense_it_answers_as_the_towers_one_by_one() -> None:
    towers, x = [tower(seed) for seed in range(MODELS)], _rows()
    network = StackedNetwork(towers)
    expected = np.concatenate([answers(each, x) for each in towers], axis=1)
    np.testing.assert_allclose(_links(network, x), expected, rtol=1e-4, atol=1e-4)
    _check_graph(network, x)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_carried_out_alike_in_torch_and_in_the_graph(form: str) -> None:
    network = StackedNetwork([tower(seed) for seed in range(MODELS)])
    before = network.parameter_count
    for number in range(2):
        stack = network.layer(number).tensor()
        terms = FORMS[form](stack)
        network.replace(number, *terms)
        expected = np.broadcast_to(sum(term.to_tensor() for term in terms), stack.shape)
        np.testing.assert_allclose(network.layer(number).tensor(), expected, rtol=1e-4, atol=1e-4)
    assert network.parameter_count < before
    _check_graph(network, _rows())


def test_copies_of_one_model_cost_about_one_model_whatever_the_order_of_their_units() -> None:
    one, models = tower(0), 8
    rng = np.random.default_rng(1)
    shuffled = [
        one.permuted(0, rng.permutation(WIDTHS[1])).permuted(1, rng.permutation(WIDTHS[2])) for _ in range(models)
    ]
    network = StackedNetwork(aligned([one, *shuffled[1:]]))
    biases = sum(bias.size for bias in one.biases) * (models - 1)
    for number in range(len(one.weights)):
        network.replace(number, tucker.decompose(network.layer(number).tensor(), (1, None, None), PLAIN))
    single = sum(a.size for a in (*one.weights, *one.biases))
    assert network.parameter_count - biases <= 1.1 * single
    x = _rows()
    np.testing.assert_allclose(_links(network, x), np.tile(answers(one, x), models), rtol=1e-4, atol=1e-4)


def test_it_trains() -> None:
    towers = [tower(seed, (*WIDTHS[:-1], 1)) for seed in range(MODELS)]
    torch.manual_seed(0)
    network = StackedNetwork(towers)
    x = _rows(rows=300)
    wanted = np.stack((x[:, 0] > 0, x[:, 1] > x[:, 2], x[:, 3]), axis=1).astype(np.float32)
    rows = Rows(torch.tensor(x, dtype=torch.float32), torch.from_numpy(wanted))
    for number in range(2):
        network.replace(number, cp.decompose(network.layer(number).tensor(), 5, PLAIN))
    schedule = Schedule(epochs=8, batch_rows=32, learning_rate=1e-2)
    assert train(network, BEHAVIOURS, rows, rows, schedule, lambda *_: None) < 0.8


def test_towers_of_another_architecture_are_refused() -> None:
    with pytest.raises(FusionError, match="tower 1"):
        StackedNetwork([tower(0), Tower(tower(0).weights[:2], tower(0).biases[:2])])
