"""The GRU family: torch, ONNX Runtime and an independent NumPy GRU agree; padding leaves no trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch

from fusion.onnx_graph import Graph
from fusion.teachers.gru import GruEncoder
from fusion.teachers.network import array
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH
from tests.support.sequences import random_sequences

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS, WIDTH = len(SEQUENCE_CHANNELS), 5


def encoder() -> GruEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GruEncoder(CHANNELS, WIDTH)


def numpy_gru(cell: GruEncoder, sessions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cho et al. 2014 with the reset gate after the linear map, step by step: (steps, channels) → (steps, width)."""
    weights = [array(cell.cell.get_parameter(name)).astype(np.float64) for name in ("weight_ih_l0", "weight_hh_l0")]
    biases = [array(cell.cell.get_parameter(name)).astype(np.float64) for name in ("bias_ih_l0", "bias_hh_l0")]
    state, states = np.zeros(WIDTH), []
    for session in sessions:
        read = np.split(weights[0] @ session + biases[0], 3)
        kept = np.split(weights[1] @ state + biases[1], 3)
        reset, update = (1 / (1 + np.exp(-(read[gate] + kept[gate]))) for gate in (0, 1))
        state = (1 - update) * np.tanh(read[2] + reset * kept[2]) + update * state
        states.append(state)
    return np.array(states)


def test_torch_states_are_those_of_numpy_at_every_session() -> None:
    lengths = [1, 2, 17, 31, 32]
    cell, sequences = encoder(), random_sequences(lengths)
    states = cell(torch.from_numpy(sequences)).detach().numpy()
    for row, length in enumerate(lengths):
        expected = numpy_gru(cell, sequences[row, SEQUENCE_LENGTH - length :])
        np.testing.assert_allclose(states[row, SEQUENCE_LENGTH - length :], expected, atol=1e-6)


def test_the_graph_gives_the_state_after_the_newest_session() -> None:
    lengths = [1, 2, 17, 31, 32]
    cell, sequences = encoder(), random_sequences(lengths)
    graph = Graph("test")
    value = cell.add_to(graph, graph.input("x", (SEQUENCE_LENGTH, CHANNELS)))
    session = onnxruntime.InferenceSession(graph.serialise(value, "y", WIDTH), providers=["CPUExecutionProvider"])
    got = session.run(["y"], {"x": sequences})[0]
    expected = [numpy_gru(cell, sequences[row, SEQUENCE_LENGTH - n :])[-1] for row, n in enumerate(lengths)]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    # A history of no session at all is not an error, and harms no row beside it.
    empty = np.concatenate((np.zeros((1, SEQUENCE_LENGTH, CHANNELS), dtype=np.float32), sequences))
    np.testing.assert_allclose(session.run(["y"], {"x": empty})[0][1:], expected, atol=1e-5)


def test_fewer_steps_of_padding_change_nothing() -> None:
    cell, sequences = encoder(), torch.from_numpy(random_sequences([3, 9]))
    torch.testing.assert_close(cell(sequences)[:, -3:], cell(sequences[:, -9:])[:, -3:])
