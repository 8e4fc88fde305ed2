"""Reads a torch teacher back from the graph that it was written as: nothing but the ONNX file has to be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from fusion.errors import FusionError
from fusion.teachers.examples import Examples
from fusion.teachers.gru import GruEncoder, swapped_gates
from fusion.teachers.inputs import Scaling
from fusion.teachers.network import Network
from fusion.teachers.scaled import ScaledInputs
from fusion.teachers.tcn import TcnEncoder
from fusion.training import predict
from inference.contract.artifact import PARITY_TOLERANCE
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from fusion.teachers.network import Encoder
    from fusion.teachers.onnx_teacher import OnnxTeacher

_PROBE_ROWS: Final = 16


class _Nodes:
    """The nodes of a graph, and the constants that they read."""

    def __init__(self, model: bytes) -> None:
        graph = onnx.load_model_from_string(model).graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._nodes = [(node.op_type, [constants.get(name) for name in node.input]) for node in graph.node]

    def of(self, kind: str) -> list[list[NDArray[np.float32]]]:
        """Per node of a kind that reads constants, in order: those constants."""
        found = ([array for array in inputs if array is not None] for name, inputs in self._nodes if name == kind)
        return [arrays for arrays in found if arrays]


def read_network(teacher: OnnxTeacher) -> tuple[Network, ScaledInputs]:
    """The network of a teacher of a torch family, and the scaling of its inputs.

    Raises:
        FusionError: the file is not one that a torch family of this package wrote.
    """
    card, nodes = teacher.card, _Nodes(teacher.model)
    try:
        inputs = _inputs(card.features, nodes)
        encoder = _encoder(nodes) if card.uses_sequences else None
        layers = nodes.of("Gemm")
        widths = tuple(len(weight) for weight, _ in layers)
        network = Network(len(card.features), widths[:-1], widths[-1], encoder, _dropout(card.settings))
        for layer, (weight, bias) in zip([*network.hidden, network.output], layers, strict=True):
            _load(layer, weight=weight, bias=bias)
    except (IndexError, ValueError, RuntimeError, TypeError) as error:
        raise _foreign(teacher, str(error)) from error
    _check(network, inputs, teacher)
    return network, inputs


def _dropout(settings: Mapping[str, object]) -> float:
    value = settings.get("dropout", 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _inputs(names: tuple[str, ...], nodes: _Nodes) -> ScaledInputs:
    scalings = [
        Scaling(median, mean, deviation)
        for (median,), (mean,), (deviation,) in zip(nodes.of("Where"), nodes.of("Sub"), nodes.of("Div"), strict=True)
    ]
    return ScaledInputs(names, scalings[0], scalings[1] if len(scalings) > 1 else None)


def _encoder(nodes: _Nodes) -> Encoder:
    channels = len(SEQUENCE_CHANNELS)
    if nodes.of("GRU"):
        ((read, recur, biases),) = nodes.of("GRU")
        gru = GruEncoder(channels, recur.shape[2])
        of_read, of_recur = np.split(biases[0], 2)
        arrays = {"weight_ih_l0": read[0], "weight_hh_l0": recur[0], "bias_ih_l0": of_read, "bias_hh_l0": of_recur}
        _load(gru.cell, **{name: swapped_gates(values) for name, values in arrays.items()})
        return gru
    weights = [weight for (weight,) in nodes.of("MatMul")]
    biases_of = [bias for (bias,) in nodes.of("Add") if bias.ndim == 1][-len(weights) :]
    tcn = TcnEncoder(channels, weights[0].shape[1])
    for layer, weight, bias in zip(tcn.convolutions, weights, biases_of, strict=True):
        _load(layer, weight=weight.T, bias=bias)
    return tcn


def _load(module: nn.Module, **arrays: NDArray[np.float32]) -> None:
    module.load_state_dict({name: torch.tensor(values.copy()) for name, values in arrays.items()})


def _check(network: Network, inputs: ScaledInputs, teacher: OnnxTeacher) -> None:
    """Both must answer alike, on rows as far apart as the scaling allows."""
    draw = np.random.default_rng(0)
    features = (draw.normal(size=(_PROBE_ROWS, len(inputs.names))) * 10.0).astype(np.float32)
    raw = scaled = None
    if inputs.sequences is not None:
        raw = draw.gamma(1.0, 5.0, size=(_PROBE_ROWS, SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS))).astype(np.float32)
        # Histories of 1, 2, 3, ... sessions; channel 0 says which steps are there.
        raw[..., 0] = 1.0
        raw[np.arange(SEQUENCE_LENGTH) < SEQUENCE_LENGTH - 1 - np.arange(_PROBE_ROWS)[:, None]] = 0.0
        scaled = torch.from_numpy(inputs.sequences.apply(raw))
    rows = torch.arange(_PROBE_ROWS)
    examples = Examples(
        torch.from_numpy(inputs.features.apply(features)),
        torch.zeros(_PROBE_ROWS, len(teacher.card.behaviours)),
        scaled,
        rows,
        torch.full_like(rows, SEQUENCE_LENGTH - 1),
    )
    expected = teacher.links(features, raw)
    error = float(np.max(np.abs(predict(network, examples) - expected) / np.maximum(1.0, np.abs(expected))))
    if not error <= PARITY_TOLERANCE:
        raise _foreign(teacher, f"a network that departs from the file by {error:.1e}")


def _foreign(teacher: OnnxTeacher, got: str) -> FusionError:
    return FusionError(
        f"teacher {teacher.card.name} of family {teacher.card.family}",
        got=got,
        expected="a network as the families gru, tcn, mlp and logistic write it",
        fix="Other models can be fused, but not be taken apart.",
    )
