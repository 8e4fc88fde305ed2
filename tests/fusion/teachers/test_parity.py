"""The parity check tells a graph that departs from one that does not."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.errors import FusionError
from fusion.onnx_graph import Graph
from fusion.teachers.parity import check_parity

ROWS = np.array([[1.0], [100.0]], dtype=np.float32)


def _double() -> bytes:
    graph = Graph("test")
    return graph.serialise(graph.op("Mul", graph.input("features", (1,)), graph.constant(2.0)), "links", 1)


def test_the_error_is_relative_to_large_links_and_absolute_on_small_ones() -> None:
    assert check_parity(_double(), ROWS, None, 2 * ROWS) == 0.0
    assert check_parity(_double(), ROWS, None, np.array([[2.0], [200.01]])) == pytest.approx(5e-5, rel=1e-2)


@pytest.mark.parametrize("wrong", [2.001, np.nan])
def test_a_departure_is_refused(wrong: float) -> None:
    with pytest.raises(FusionError, match="ONNX export of the teacher"):
        check_parity(_double(), ROWS, None, np.array([[wrong], [200.0]]))
