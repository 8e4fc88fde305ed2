"""Branched networks: torch and the graph answer alike, branches stand alone, parts are what one behaviour needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from fusion.branching.network import SHARED_PART, BranchedNetwork
from fusion.branching.ownership import NOBODY, SHARED
from fusion.branching.reading import DenseNetwork
from fusion.distill.student import Rows
from fusion.onnx_graph import Graph, part_of
from fusion.teachers.structure import Chain
from fusion.teachers.structure_reader import read_structure
from fusion.training import predict
from tests.support.branches import BEHAVIOURS, answers, planted, rows

NAMES = ("churn_7d", "return_24h", "sessions_7d")


def _links(network: BranchedNetwork, features: NDArray[np.float32]) -> NDArray[np.float32]:
    return predict(network, Rows(torch.from_numpy(features[:, network.columns]), torch.zeros(len(features), 0)))


def _model(network: BranchedNetwork, names: tuple[str, ...]) -> bytes:
    graph = Graph("test")
    value = network.add_to(graph, graph.input("features", (len(network.columns),)), names)
    return graph.serialise(value, "links", len(names))


def _run(model: bytes, features: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["links"], {"features": features})[0])


def test_torch_and_the_graph_answer_as_the_network_that_was_split() -> None:
    dense, owners = planted(0)
    network, features = BranchedNetwork(dense, owners), rows()
    expected = answers(dense, features)
    np.testing.assert_allclose(_links(network, features), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(_run(_model(network, NAMES), features), expected, rtol=1e-4, atol=1e-4)
    owned = [network.parameters_of(owner) for owner in (SHARED, *range(BEHAVIOURS))]
    assert network.parameter_count == sum(owned) == dense.parameter_count
    assert all(owned)


def test_no_branch_reads_another() -> None:
    dense, owners = planted(0)
    nodes = onnx.load_model_from_string(_model(BranchedNetwork(dense, owners), NAMES)).graph.node
    parts = {output: part_of(node.name) for node in nodes for output in node.output}
    for node in nodes:
        mine = part_of(node.name)
        if mine:
            assert {parts[value] for value in node.input if value in parts} <= {SHARED_PART, mine}
    assert set(parts.values()) == {SHARED_PART, *NAMES, ""}


@pytest.mark.parametrize("column", range(BEHAVIOURS))
def test_a_part_answers_alike_and_is_a_chain_of_layers(column: int) -> None:
    dense, owners = planted(0)
    network, features = BranchedNetwork(dense, owners), rows()
    part = network.part(column)
    model = _model(part, (NAMES[column],))
    np.testing.assert_allclose(_run(model, features)[:, 0], answers(dense, features)[:, column], rtol=1e-4, atol=1e-4)
    assert isinstance(read_structure(model), Chain)
    assert part.parameter_count == network.parameters_of(SHARED) + network.parameters_of(column)


def test_a_part_leaves_out_what_does_not_reach_it() -> None:
    dense, owners = planted(0)
    first, second, last = dense.levels
    weight, unread = first.weight.copy(), second.weight.copy()
    weight[:, 2] = 0.0
    shared = int(np.flatnonzero(owners[0] == SHARED)[0])
    unread[np.isin(owners[1], (SHARED, 1)), shared] = 0.0
    dense = replace(dense, levels=(replace(first, weight=weight), replace(second, weight=unread), last))
    part = BranchedNetwork(dense, owners).part(1)
    assert part.columns.tolist() == [0, 1, 3, 4, 5]
    assert len(part.owners[0]) == int(np.isin(owners[0], (SHARED, 1)).sum()) - 1
    np.testing.assert_allclose(_links(part, rows())[:, 0], answers(dense, rows())[:, 1], rtol=1e-4, atol=1e-4)


def test_units_of_nobody_are_left_out() -> None:
    dense, owners = planted(0)
    gone = [owners[0].copy(), *owners[1:]]
    gone[0][3] = NOBODY
    first, second, last = dense.levels
    weight = second.weight.copy()
    weight[:, 3] = 0.0
    dense = replace(dense, levels=(first, replace(second, weight=weight), last))
    network = BranchedNetwork(dense, tuple(gone))
    assert len(network.owners[0]) == len(owners[0]) - 1
    np.testing.assert_allclose(_links(network, rows()), answers(dense, rows()), rtol=1e-4, atol=1e-4)


def _constant(column: int) -> tuple[DenseNetwork, tuple[NDArray[np.int64], ...]]:
    """All private, and one behaviour that reads nothing."""
    dense, owners = planted(0)
    own = [np.resize(np.delete(np.arange(BEHAVIOURS), column), len(each)) for each in owners[:-1]]
    return dense, (*own, owners[-1])


def test_a_behaviour_that_needs_nothing_still_answers_every_row() -> None:
    dense, owners = _constant(1)
    network, features = BranchedNetwork(dense, owners), rows()
    got = _run(_model(network, NAMES), features)
    np.testing.assert_allclose(got, _links(network, features), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got[:, 1], dense.levels[-1].bias[1], rtol=1e-6)
    alone = network.part(1)
    np.testing.assert_allclose(_run(_model(alone, NAMES[1:2]), features[:, alone.columns])[:, 0], got[:, 1], rtol=1e-6)


def test_what_was_cut_stays_cut_in_training() -> None:
    dense, owners = planted(0)
    network = BranchedNetwork(dense, owners)
    features = torch.from_numpy(rows())
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(Rows(features, torch.zeros(len(features), 0))).square().sum().backward()
    optimiser.step()
    assert network.parameter_count == dense.parameter_count
    before, after = _links(BranchedNetwork(dense, owners), rows()), _links(network, rows())
    assert np.abs(before - after).max() > 0.1
    part = network.part(0)
    np.testing.assert_allclose(_links(part, rows())[:, 0], after[:, 0], rtol=1e-4, atol=1e-4)
