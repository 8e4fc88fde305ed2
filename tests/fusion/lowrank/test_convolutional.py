"""The low-rank TCN: the same as torch's, in the graph too, and its channels can be pruned through all residuals."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from fusion.lowrank import tucker
from fusion.lowrank.convolutional import LowRankTcn
from fusion.lowrank.metric import Metric
from fusion.onnx_graph import Graph
from fusion.teachers.tcn import TcnEncoder
from fusion.weight import Weight
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH
from tests.support.sequences import random_sequences

CHANNELS, WIDTH = len(SEQUENCE_CHANNELS), 10
LENGTHS = [1, 2, 9, 17, 31, 32]


def _encoder() -> TcnEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TcnEncoder(CHANNELS, WIDTH)


def _small() -> LowRankTcn:
    tcn = LowRankTcn.from_encoder(_encoder())
    for name, layer in tcn.layers().items():
        ranks = (6, None, min(5, layer.shape[2]))
        tcn.replace(name, layer.in_form(tucker.decompose(layer.tensor(), ranks, Metric.plain(3))))
    return tcn


def _check_graph(tcn: LowRankTcn) -> None:
    sequences = random_sequences(LENGTHS)
    graph = Graph("test")
    value = tcn.add_to(graph, graph.input("x", (SEQUENCE_LENGTH, CHANNELS)))
    session = onnxruntime.InferenceSession(graph.serialise(value, "y", tcn.width), providers=["CPUExecutionProvider"])
    expected = tcn(torch.from_numpy(sequences))[:, -1].detach().numpy()
    np.testing.assert_allclose(session.run(["y"], {"x": sequences})[0], expected, rtol=1e-4, atol=1e-4)


def test_dense_it_is_the_network_it_came_from() -> None:
    encoder, sequences = _encoder(), torch.from_numpy(random_sequences(LENGTHS))
    torch.testing.assert_close(LowRankTcn.from_encoder(encoder)(sequences), encoder(sequences), atol=1e-5, rtol=1e-5)


def test_factors_in_the_graph_give_what_torch_gives_and_train() -> None:
    tcn = _small()
    assert sum(p.numel() for p in tcn.parameters()) < sum(p.numel() for p in _encoder().parameters())
    _check_graph(tcn)
    tcn(torch.from_numpy(random_sequences(LENGTHS)))[:, -1].sum().backward()
    assert all(parameter.grad is not None for parameter in tcn.parameters())


@pytest.mark.parametrize("low_rank", [False, True])
def test_a_channel_that_nothing_reads_can_go_unnoticed(low_rank: bool) -> None:
    tcn = _small() if low_rank else LowRankTcn.from_encoder(_encoder())
    sequences = torch.from_numpy(random_sequences(LENGTHS))
    reader = Weight(np.random.default_rng(0).normal(size=(3, WIDTH)))
    silent = np.array([1, 7])
    with torch.no_grad():
        for level, layer in enumerate(tcn.layers().values()):
            if level:
                ((weight, axis),) = layer.mode_slices(2)
                weight.array.index_fill_(axis, torch.from_numpy(silent), 0.0)
        reader.array[:, silent] = 0.0
    before = tcn(sequences)[:, -1] @ reader().T
    units = tcn.units([(reader, 1)])
    units.keep(np.setdiff1d(np.arange(WIDTH), silent))
    tcn.replan()
    assert tcn.width == WIDTH - 2
    torch.testing.assert_close(tcn(sequences)[:, -1] @ reader().T, before, atol=1e-4, rtol=1e-4)
    _check_graph(tcn)
