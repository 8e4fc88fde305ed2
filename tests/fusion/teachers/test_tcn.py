"""The TCN family: torch, ONNX Runtime and an independent dilated convolution agree; padding leaves no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from torch import nn

from fusion.onnx_graph import Graph
from fusion.teachers.network import array
from fusion.teachers.tcn import TcnEncoder
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH
from tests.support.sequences import random_sequences

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS, WIDTH, LEVELS = len(SEQUENCE_CHANNELS), 6, 5


def encoder() -> TcnEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TcnEncoder(CHANNELS, WIDTH)


def literal_tcn(network: TcnEncoder, sessions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Step by step over the sessions there are: what lies before the first one is zero in every layer."""
    value = sessions.astype(np.float64)
    for level, layer in enumerate(network.convolutions):
        assert isinstance(layer, nn.Linear)
        weight, bias = array(layer.weight).astype(np.float64), array(layer.bias)
        older, newer = np.split(weight, 2, axis=1)
        steps = []
        for step in range(len(value)):
            before = value[step - 2**level] if step >= 2**level else np.zeros(value.shape[1])
            active = np.maximum(older @ before + newer @ value[step] + bias, 0.0)
            steps.append(active + value[step] if level else active)
        value = np.array(steps)
    return value


def test_torch_states_are_those_of_a_dilated_convolution_at_every_session() -> None:
    lengths = [1, 2, 17, 31, 32]
    network, sequences = encoder(), random_sequences(lengths)
    states = network(torch.from_numpy(sequences)).detach().numpy()
    assert len(network.convolutions) == LEVELS
    for row, length in enumerate(lengths):
        expected = literal_tcn(network, sequences[row, SEQUENCE_LENGTH - length :])
        np.testing.assert_allclose(states[row, SEQUENCE_LENGTH - length :], expected, atol=1e-5)


def test_the_graph_gives_the_state_after_the_newest_session() -> None:
    lengths = [1, 2, 17, 31, 32]
    network, sequences = encoder(), random_sequences(lengths)
    graph = Graph("test")
    value = network.add_to(graph, graph.input("x", (SEQUENCE_LENGTH, CHANNELS)))
    session = onnxruntime.InferenceSession(graph.serialise(value, "y", WIDTH), providers=["CPUExecutionProvider"])
    expected = [literal_tcn(network, sequences[row, SEQUENCE_LENGTH - n :])[-1] for row, n in enumerate(lengths)]
    np.testing.assert_allclose(session.run(["y"], {"x": sequences})[0], expected, atol=1e-5)


def test_the_whole_window_is_read() -> None:
    network, sequences = encoder(), torch.from_numpy(random_sequences([SEQUENCE_LENGTH]))
    sequences.requires_grad_()
    network(sequences)[0, -1].sum().backward()
    assert sequences.grad is not None
    assert bool(sequences.grad[0].abs().sum(dim=1).gt(0).all())


def test_fewer_steps_of_padding_change_nothing() -> None:
    network, sequences = encoder(), torch.from_numpy(random_sequences([3, 9]))
    torch.testing.assert_close(network(sequences)[:, -3:], network(sequences[:, -9:])[:, -3:])
