"""Full int8 products stop at 16 bits on some processors; weights of 7 bits are right on all of them."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fusion.onnx_graph import Graph
from fusion.quantize.integer import ActivationGrid, IntegerProduct
from fusion.quantize.saturation import saturates
from fusion.quantize.uniform import Range

INNER, OUTER = 64, 16


@pytest.mark.parametrize("reduced", [False, True])
def test_the_largest_product_there_is(reduced: bool) -> None:
    """All activations at the top of their range, all weights at the top of theirs: pairs add up to 2 * 255 * 127."""
    inputs = ActivationGrid(torch.tensor(1.0 / 255.0), 0)
    matrix, rows = np.ones((INNER, OUTER), np.float32), np.ones((8, INNER), np.float32)
    product = IntegerProduct.fit(inputs, matrix, None, reach=Range.MIN_MAX, reduced=reduced)
    graph = Graph("largest")
    value = product.add_to(graph, graph.input("x", (INNER,)), torch.from_numpy(matrix))
    # Rounded for a next product, as in a network: only then the kernel is one of integers.
    value = ActivationGrid(torch.tensor(INNER / 250.0), 0).add_to(graph, value)
    session = onnxruntime.InferenceSession(graph.serialise(value, "y", OUTER), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": rows})
    if reduced or not saturates():
        np.testing.assert_allclose(found, INNER, rtol=1e-6)
    else:
        np.testing.assert_allclose(found, INNER * 32767 / (2 * 255 * 127), rtol=0.01)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of x86")
def test_what_was_tried_is_what_the_processor_says_of_itself() -> None:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    if "avx2" not in flags:
        pytest.skip("older than integer products of 8 bits")
    assert saturates() == (not flags & {"avx512_vnni", "avx_vnni"})
