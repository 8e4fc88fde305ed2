"""Recurrent layers: the state after the last step, however it is written; other forms are told."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from fusion.onnx_graph import Graph
from fusion.teachers.structure import Cell, Dense, Recurrent
from tests.support.layers import checked, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Encoder(nn.Module):
    """The last state of a recurrent layer, taken in one of two ways."""

    def __init__(self, cell: type[nn.GRU | nn.LSTM], by_output: bool, **more: Any) -> None:
        super().__init__()
        self.cell = cell(4, 5, batch_first=True, **more)
        self.output = nn.Linear(5, 2)
        self.by_output = by_output

    def forward(self, sequences: Tensor) -> Tensor:
        states, last = self.cell(sequences)
        state = states[:, -1] if self.by_output else (last[0] if isinstance(last, tuple) else last)[-1]
        answer: Tensor = self.output(state)
        return answer


def _exported(module: nn.Module, path: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 6, 4),),
            path,
            input_names=["sequences"],
            output_names=["links"],
            dynamic_axes={"sequences": {0: "rows"}},
            dynamo=False,
        )
    return path.read_bytes()


@pytest.mark.parametrize("by_output", [True, False])
@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_recurrent_layers_of_torch_are_read(cell: type[nn.GRU | nn.LSTM], by_output: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sequences = np.random.default_rng(0).normal(size=(7, 6, 4)).astype(np.float32)
    chain = checked(_exported(Encoder(cell, by_output), tmp_path / "m.onnx"), {"sequences": sequences})
    recurrent, dense = chain.layers
    assert isinstance(recurrent, Recurrent)
    assert isinstance(dense, Dense)
    assert recurrent.cell is (Cell.GRU if cell is nn.GRU else Cell.LSTM)
    assert not recurrent.skips_padding
    assert not recurrent.newest_first


def _slice(graph: Graph, value: str, start: int, end: int, axis: int, step: int = 1) -> str:
    return graph.op("Slice", value, *(graph.constant([number], np.int64) for number in (start, end, axis, step)))


def _recurrent(
    read: Callable[[Graph, str], str] | None = None,
    start: float | TensorProto | None = None,
    **attributes: Any,
) -> bytes:
    """Sequences (rows, 6, 4) to the state, 3 wide; `read` makes the cell's input of the steps, one after the other."""
    rng = np.random.default_rng(0)
    graph = Graph("g")
    steps = graph.op("Transpose", graph.input("sequences", (6, 4)), perm=[1, 0, 2])
    steps = read(graph, steps) if read else steps
    weights = [graph.constant(rng.normal(size=(1, 9, width))) for width in (4, 3)]
    more = ["", ""]
    if start is not None:
        # As many states as there are rows: the shape is that of what is made of channel 0 to 2 of the first step.
        shape = graph.op("Shape", _slice(graph, _slice(graph, steps, 0, 1, 0), 0, 3, 2))
        if isinstance(start, TensorProto):
            more = ["", "", graph.op("ConstantOfShape", shape, value=start)]
        else:
            more = ["", "", graph.op("Expand", graph.constant([[[start]]]), shape)]
    state = graph.op("GRU", steps, *weights, *more, output=1, hidden_size=3, **attributes)
    return graph.serialise(graph.op("Squeeze", state, graph.constant([0], np.int64)), "links", 3)


def _newest_first(graph: Graph, steps: str) -> str:
    return _slice(graph, steps, -1, -(2**31), 0, -1)


def test_the_order_of_steps_and_the_reset_gate_are_read() -> None:
    inputs = {"sequences": np.random.default_rng(1).normal(size=(5, 6, 4)).astype(np.float32)}
    for model, newest_first, reset_after in (
        (_recurrent(), False, False),
        (_recurrent(linear_before_reset=1), False, True),
        (_recurrent(direction="reverse"), True, False),
        (_recurrent(_newest_first), True, False),
        (_recurrent(_newest_first, direction="reverse"), False, False),
        (_recurrent(start=0.0), False, False),
        (_recurrent(start=helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])), False, False),
    ):
        (layer,) = checked(model, inputs).layers
        assert isinstance(layer, Recurrent)
        assert (layer.newest_first, layer.reset_after, layer.skips_padding) == (newest_first, reset_after, False)


def test_recurrent_layers_of_other_forms_say_why(tmp_path: Path) -> None:
    assert "a state before the first step" in reason(_recurrent(start=0.5))
    for raw in (False, True):
        half = np.float32(0.5).tobytes() if raw else [0.5]
        filled = helper.make_tensor("value", TensorProto.FLOAT, [1], half, raw=raw)
        assert "a state before the first step" in reason(_recurrent(start=filled))
    assert "has clip" in reason(_recurrent(clip=1.0))
    assert "reads some steps only" in reason(_recurrent(lambda graph, steps: _slice(graph, steps, 2, 6, 0)))
    embedded = _recurrent(lambda graph, steps: graph.op("Tanh", steps))
    assert "something else than sequences" in reason(embedded)
    two_layers = _exported(Encoder(nn.GRU, True, num_layers=2), tmp_path / "m.onnx")
    assert "something else than sequences" in reason(two_layers)
    both_ways = _exported(Encoder(nn.GRU, False, bidirectional=True), tmp_path / "m.onnx")
    assert "two directions" in reason(both_ways)
