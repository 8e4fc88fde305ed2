"""Whether this machine's integer products overflow: tried, because it depends on the processor and the runtime.

x86 multiplies uint8 by int8 and adds pairs of products in 16 bits, stopping at 32,767 (vpmaddubsw). Processors with
VNNI (avx512_vnni or avx_vnni in /proc/cpuinfo) add up in 32 bits, and so do those of other makes.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from onnx import TensorProto

from fusion.onnx_graph import Graph

_SIZE: Final = 64
"""Whole blocks of every kernel there is."""


@cache
def saturates() -> bool:
    """Whether ONNX Runtime gets the largest uint8 by the largest int8 wrong here."""
    import onnxruntime  # here, because few recipes need it

    graph = Graph("saturation")
    value = graph.op("Cast", graph.input("rows", (_SIZE,)), to=TensorProto.UINT8)
    weights = graph.constant(np.full((_SIZE, _SIZE), 127), np.int8)
    total = graph.op("Cast", graph.op("MatMulInteger", value, weights), to=TensorProto.FLOAT)
    session = onnxruntime.InferenceSession(graph.serialise(total, "sums", _SIZE), providers=["CPUExecutionProvider"])
    # One row and many may go through different kernels.
    sums = [session.run(None, {"rows": np.full((rows, _SIZE), 255, np.float32)})[0] for rows in (1, _SIZE)]
    return any(bool((found != 255 * 127 * _SIZE).any()) for found in sums)
