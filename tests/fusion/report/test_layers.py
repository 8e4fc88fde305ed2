from __future__ import annotations

import numpy as np
import onnx
import pytest

from fusion.export import to_onnx
from fusion.onnx_graph import Graph
from fusion.report.layers import file_bytes, kernel_us, layer_costs
from tests.support.works import BEHAVIOURS, features, small_work

PARTS = ["encoding", "input", "trunk", "layers", "readout"]


@pytest.fixture(scope="module")
def model() -> bytes:
    return to_onnx(small_work().network, BEHAVIOURS)


def test_every_byte_and_every_microsecond_has_a_part(model: bytes) -> None:
    network = small_work().network
    costs = layer_costs(model, features(64, 0), network.parameters_by_layer(), runs=20)
    assert [cost.layer for cost in costs] == PARTS
    assert sum(cost.parameters for cost in costs) == network.parameter_count
    # Float32 and nothing shared: a part takes at least four bytes a number.
    assert all(cost.file_bytes > 4 * cost.parameters for cost in costs)
    assert all(cost.cpu_share > 0 for cost in costs)
    assert sum(cost.cpu_share for cost in costs) == pytest.approx(1.0, abs=len(costs) * 5e-5)


def test_sizes_add_up_to_the_file(model: bytes) -> None:
    sizes = file_bytes(model)
    assert set(sizes) == {*PARTS, ""}
    assert sizes.total() == len(model)
    assert sizes[""] < 1_000


def test_what_belongs_to_no_part_is_counted_apart() -> None:
    graph = Graph("test")
    value = graph.input("features", (4,))
    with graph.part("first"):
        value = graph.op("Mul", value, graph.constant(np.ones(4)))
    value = graph.op("Add", value, graph.constant(np.ones((64, 4))))
    content = graph.serialise(value, "predictions", 4)
    sizes = file_bytes(content)
    assert set(sizes) == {"first", ""}
    assert sizes[""] > 64 * 4 * 4 > sizes["first"]
    spent = kernel_us(content, np.zeros((64, 4), np.float32), runs=50)
    assert 0 < spent["first"] < sum(spent.values())


def test_parts_name_nodes_once(model: bytes) -> None:
    names = [node.name for node in onnx.load_from_string(model).graph.node if node.name]
    assert len(set(names)) == len(names)
