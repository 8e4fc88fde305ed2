"""Recognises a recurrent layer and the state after its last step, as torch and as our own families write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import numpy_helper

from fusion.teachers.graph_view import GraphView, NotLayers, attribute
from fusion.teachers.structure import Cell, Recurrent

if TYPE_CHECKING:
    import onnx

_CELLS: Final = {"GRU": Cell.GRU, "LSTM": Cell.LSTM}
_BY_STEP: Final = [1, 0, 2]
"""Turns (rows, steps, channels) into (steps, rows, channels), and back."""
_OTHER_FORMS: Final = ("activations", "activation_alpha", "activation_beta", "clip", "input_forget", "layout")


def read_recurrent(view: GraphView, value: str) -> tuple[Recurrent, str] | None:
    """The layer whose last state a value is, and the sequences (rows, steps, channels) that it reads.

    Returns:
        None where the value is no state of a recurrent layer.

    Raises:
        NotLayers: it is one, of a form that `Recurrent` does not describe.
    """
    node = _state(view, value)
    if node is None:
        return None
    inputs = [*node.input, *[""] * (8 - len(node.input))]
    source, turned = _sequences(view, inputs[0])
    direction = attribute(node, "direction", "forward")
    strange = [name for name in _OTHER_FORMS if attribute(node, name, None)]
    strange += ["two directions"] if direction == "bidirectional" else []
    strange += ["peepholes"] if inputs[7] else []
    strange += [] if all(_zero(view, name) for name in inputs[5:7]) else ["a state before the first step"]
    if strange:
        raise NotLayers(f"the {node.op_type} {node.name} has {', '.join(strange)}")
    input_weight, state_weight = (view.weight(name)[0].astype(np.float32) for name in inputs[1:3])
    biases = view.weight(inputs[3])[0].astype(np.float32) if inputs[3] else np.zeros(2 * len(input_weight), np.float32)
    return Recurrent(
        cell=_CELLS[node.op_type],
        input_weight=input_weight,
        state_weight=state_weight,
        input_bias=biases[: len(input_weight)],
        state_bias=biases[len(input_weight) :],
        reset_after=bool(attribute(node, "linear_before_reset", 0)),
        newest_first=turned != (direction == "reverse"),
        skips_padding=_skips_padding(view, inputs[4], source, turned=turned),
    ), source


def _state(view: GraphView, value: str) -> onnx.NodeProto | None:
    """The cell whose last state a value is: its second output, or the last step of its first one."""
    node = view.node(value, "Squeeze", "Gather")
    if node is None:
        return None
    cell = view.node(node.input[0], *_CELLS)
    if cell is not None:
        first_axis = node.op_type == "Squeeze" or attribute(node, "axis", 0) == 0
        return cell if first_axis and len(cell.output) > 1 and view.origin(node.input[0]) == cell.output[1] else None
    if node.op_type == "Squeeze" or not view.is_constant(node.input[1], -1):
        return None
    turned = view.node(node.input[0], "Transpose")
    if attribute(node, "axis", 0) != 1 or turned is None or attribute(turned, "perm", None) != _BY_STEP:
        return None
    squeezed = view.node(turned.input[0], "Squeeze")
    cell = view.node(squeezed.input[0], *_CELLS) if squeezed is not None else None
    if cell is not None and (attribute(cell, "direction", "forward") != "forward" or "".join(cell.input[4:5])):
        raise NotLayers(f"the last step of the {cell.op_type} {cell.name} is not its last state")
    return cell


def _zero(view: GraphView, value: str) -> bool:
    """Whether a state is absent or zero, of whatever shape."""
    if not value:
        return True
    filled = view.node(value, "ConstantOfShape")
    if filled is not None:
        tensor = attribute(filled, "value", None)
        return tensor is None or not numpy_helper.to_array(tensor).any()
    spread = view.node(value, "Expand")
    found = view.constant(spread.input[0] if spread is not None else value)
    return found is not None and not found.any()


def _sequences(view: GraphView, value: str) -> tuple[str, bool]:
    """The (rows, steps, channels) from which a cell's input is made, and whether its steps are turned round."""
    sliced = view.node(value, "Slice")
    turned = sliced is not None
    if sliced is not None:
        starts, ends, axes, steps = (view.constant(name) for name in sliced.input[1:5])
        if not (starts == [-1] and axes == [0] and steps == [-1] and ends is not None and ends[0] < -(2**15)):
            raise NotLayers(f"the recurrent layer reads some steps only (node {sliced.name or sliced.output[0]})")
        value = sliced.input[0]
    by_step = view.node(value, "Transpose")
    if by_step is None or attribute(by_step, "perm", None) != _BY_STEP:
        raise NotLayers("a recurrent layer reads something else than sequences of (rows, steps, channels)")
    return view.origin(by_step.input[0]), turned


def _skips_padding(view: GraphView, lengths: str, sequences: str, *, turned: bool) -> bool:
    """Whether the lengths are the number of steps whose channel 0 is above 0, counted from the newest one."""
    if not lengths:
        return False
    value = lengths
    for kind in ("Cast", "Max", "ReduceSum", "Greater", "Gather"):
        node = view.node(value, kind)
        if node is None:
            raise NotLayers("a recurrent layer reads as many steps as something else than its sequences says")
        value = node.input[0]
        if kind == "Gather" and not (view.is_constant(node.input[1], 0) and attribute(node, "axis", 0) == 2):
            raise NotLayers("a recurrent layer's number of steps does not come from channel 0")
    if view.origin(value) != sequences or not turned:
        raise NotLayers("a recurrent layer's number of steps does not come from its own sequences")
    return True
