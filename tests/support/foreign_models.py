"""ONNX models as somebody else would write them, and their cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fusion.teachers.import_card import ImportCard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def card(features: tuple[str, ...], *answers: Mapping[str, object], **more: object) -> ImportCard:
    return ImportCard.model_validate({"features": features, "behaviours": answers, **more})


def matrix(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def linear(
    weights: NDArray[np.float32],
    *,
    bias: float = 0.0,
    rows_axis: int | None = None,
    element: int = TensorProto.FLOAT,
    kind: str = "MatMul",
    domain: str = "",
) -> onnx.ModelProto:
    """`x` (rows, n) to `y` (rows, outputs) = x @ weights + bias."""
    nodes = [
        helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT),
        helper.make_node(kind, ["x32", "w"], ["product"], domain=domain),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", element, [rows_axis, len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows_axis, weights.shape[1]])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([bias], dtype=np.float32), "b")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("studio", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


WEIGHTS: Final = matrix((0.01,), (-0.002,))
TWO: Final = ("sessions_7d", "tenure_days")
"""Features, for `linear(WEIGHTS)`."""
CHURN: Final[dict[str, object]] = {"name": "churn_7d", "kind": "logit"}
