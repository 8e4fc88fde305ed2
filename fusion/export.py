"""Writes the fused network as one ONNX graph and proves that it answers as torch does.

The file holds the low-rank arrays (storage form). How a layer is carried out (execution form) is a matter of how the
graph associates the products: `(x @ down) @ up`, or `x @ (down @ up)`, where ONNX Runtime multiplies the constants
once, at load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion.branch import replace_columns, served_features
from fusion.errors import FusionError
from fusion.network import ENCODING, LAYERS, READOUT
from fusion.onnx_graph import Graph
from inference.contract.artifact import PARITY_TOLERANCE, Probe
from inference.contract.behaviours import from_link
from inference.engine import INPUT_NAME, OUTPUT_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.branch import Branch
    from fusion.encoding import PiecewiseLinearEncoding
    from fusion.network import FusedNetwork
    from inference.contract.behaviours import Behaviour


def to_onnx(
    network: FusedNetwork,
    behaviours: Sequence[Behaviour],
    *,
    dense: frozenset[str] = frozenset(),
    branches: Sequence[Branch] = (),
) -> bytes:
    """The whole graph: imputation, scaling (folded into the encoding), network, output activations, branches.

    Args:
        network: trained; its outputs are the behaviours, probabilities before amounts.
        behaviours: columns of the output.
        dense: names out of `LAYERS` to be multiplied out at load.
        branches: teachers that answer for some of the behaviours in the network's place.

    Returns:
        A model with input "features" (rows, `served_features`), NaN where missing, and output "predictions"
        (rows, behaviours) on the served scale.
    """
    graph = Graph("playfuse")
    encoding, names = network.encoding, served_features(network, branches)
    features = graph.input(INPUT_NAME, (len(names),))
    with graph.part(ENCODING):
        value = _encoded(graph, encoding, _first(graph, features, len(encoding.features), len(names)))
    for name in LAYERS:
        with graph.part(name):
            value = graph.op("Relu", network.layer(name).add_to(graph, value, dense=name in dense))
    with graph.part(READOUT):
        value = _read_out(graph, value, network, behaviours)
    if branches:
        value = _with_branches(graph, value, features, names, behaviours, branches)
    return graph.serialise(value, OUTPUT_NAME, len(behaviours))


def _first(graph: Graph, features: str, wanted: int, given: int) -> str:
    """The first columns of the input, where only a branch reads the others."""
    if wanted == given:
        return features
    return graph.op("Gather", features, graph.constant(np.arange(wanted), np.int64), axis=1)


def _with_branches(
    graph: Graph,
    answers: str,
    features: str,
    names: Sequence[str],
    behaviours: Sequence[Behaviour],
    branches: Sequence[Branch],
) -> str:
    """The network's answers (rows, behaviours), with those of the branches in their columns."""
    kinds = {behaviour.name: behaviour for behaviour in behaviours}
    columns, place = list(range(len(behaviours))), [behaviour.name for behaviour in behaviours]
    parts = [answers]
    for branch in branches:
        for name, links in branch.add_to(graph, features, names).items():
            columns[place.index(name)] = len(behaviours) + len(parts) - 1
            with graph.part(branch.part):
                parts.append(_activated(graph, links, is_binary=kinds[name].is_binary))
    with graph.part(READOUT):
        beside = graph.op("Concat", *parts, axis=1)
        return graph.op("Gather", beside, graph.constant(columns, np.int64), axis=1)


def _activated(graph: Graph, links: str, *, is_binary: bool) -> str:
    """Links as they are served: probabilities, or amounts of at least 0."""
    if is_binary:
        return graph.op("Sigmoid", links)
    return graph.op("Sub", graph.op("Exp", graph.op("Relu", links)), graph.constant(1.0))


def _encoded(graph: Graph, encoding: PiecewiseLinearEncoding, features: str) -> str:
    """(rows, features) → (rows, bins * features)."""
    known = graph.op("Where", graph.op("IsNaN", features), graph.constant(encoding.medians), features)
    repeated = graph.op("Concat", *[known] * encoding.bins, axis=1)
    lower, slope = _bins(graph, encoding)
    share = graph.op("Mul", graph.op("Sub", repeated, lower), slope)
    return graph.op("Clip", share, graph.constant(0.0), graph.constant(1.0))


def _bins(graph: Graph, encoding: PiecewiseLinearEncoding) -> tuple[str, str]:
    """Where each bin begins and its slope, (1, bins * features) both, from the knots: worked out once, at load."""
    flat = graph.constant((1, -1), np.int64)
    knots = graph.constant(encoding.knots)

    def rows(start: int, stop: int) -> str:
        return graph.op("Slice", knots, graph.constant((start,), np.int64), graph.constant((stop,), np.int64))

    lower = rows(0, encoding.bins)
    width = graph.op("Sub", rows(1, encoding.bins + 1), lower)
    some = graph.op("Greater", width, graph.constant(0.0))
    slope = graph.op("Where", some, graph.op("Reciprocal", width), graph.constant(0.0))
    return graph.op("Reshape", lower, flat), graph.op("Reshape", slope, flat)


def _read_out(graph: Graph, own: str, network: FusedNetwork, behaviours: Sequence[Behaviour]) -> str:
    """Every behaviour reads its own units only: one block-diagonal product per kind of output activation."""
    count, units = network.readout.array.shape
    readout = graph.op("Reshape", network.readout.add_to(graph), graph.constant((count, units, 1), np.int64))
    bias = network.readout_bias.numpy()
    blocks = np.eye(count, dtype=np.float32)[:, None, :]

    def links(columns: list[int]) -> str:
        diagonal = graph.op("Mul", readout, graph.constant(blocks[:, :, columns]))
        shape = graph.constant((count * units, len(columns)), np.int64)
        return graph.op("Gemm", own, graph.op("Reshape", diagonal, shape), graph.constant(bias[columns]))

    binary = [index for index, behaviour in enumerate(behaviours) if behaviour.is_binary]
    amounts = [index for index, behaviour in enumerate(behaviours) if not behaviour.is_binary]
    if binary + amounts != list(range(count)):
        raise FusionError(
            "behaviours",
            got=", ".join(behaviour.name for behaviour in behaviours),
            expected=f"{count} behaviours, probabilities before amounts",
        )
    parts = []
    if binary:
        parts.append(_activated(graph, links(binary), is_binary=True))
    if amounts:
        parts.append(_activated(graph, links(amounts), is_binary=False))
    return graph.op("Concat", *parts, axis=1)


def served(
    network: FusedNetwork,
    features: NDArray[np.float32],
    behaviours: Sequence[Behaviour],
    branches: Sequence[Branch] = (),
) -> NDArray[np.float64]:
    """What torch and the branches' teachers answer, on the served scale: (rows, features) → (rows, behaviours)."""
    links = served_links(network, features, behaviours, branches)
    return np.stack([from_link(links[:, column], behaviour) for column, behaviour in enumerate(behaviours)], axis=1)


def served_links(
    network: FusedNetwork,
    features: NDArray[np.float32],
    behaviours: Sequence[Behaviour],
    branches: Sequence[Branch] = (),
) -> NDArray[np.float32]:
    """The same on the link scale; the columns of `features` are `served_features`."""
    links = predict_links(network, features[:, : len(network.encoding.features)])
    return replace_columns(links, features, served_features(network, branches), behaviours, branches)


def predict_links(network: FusedNetwork, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """What torch answers, on the link scale: (rows, features) → (rows, behaviours)."""
    with torch.inference_mode():
        parts = [network(chunk) for chunk in torch.split(torch.from_numpy(features), 16_384)]
    return np.asarray(torch.cat(parts).numpy())


def make_probe(
    network: FusedNetwork,
    features: NDArray[np.float32],
    behaviours: Sequence[Behaviour],
    branches: Sequence[Branch] = (),
    *,
    rows: int = 16,
) -> Probe:
    """Rows spread over `features`, one of them with every value missing, and the answers to them."""
    chosen = features[np.linspace(0, len(features) - 1, rows).astype(np.int64)].copy()
    chosen[-1] = np.nan
    answers = served(network, chosen, behaviours, branches)
    return Probe(
        rows=tuple(tuple(None if np.isnan(x) else float(x) for x in row) for row in chosen),
        expected=tuple(tuple(float(x) for x in row) for row in answers),
    )


def check_parity(expected: NDArray[np.float64], got: NDArray[np.float32]) -> float:
    """Largest |torch - ONNX Runtime| / max(1, |torch|) over any number of rows, refused above the tolerance.

    Raises:
        FusionError: the two disagree.
    """
    error = float((np.abs(got - expected) / np.maximum(1.0, np.abs(expected))).max())
    if not error <= PARITY_TOLERANCE:
        raise FusionError(
            "parity of torch and ONNX Runtime",
            got=f"{error:.2e}",
            expected=f"at most {PARITY_TOLERANCE:.0e}",
            fix="Outputs far outside the training range grow rounding errors: look for extreme amounts. Products of "
            "integers may saturate: leave reduce_range to auto.",
        )
    return error
