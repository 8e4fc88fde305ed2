"""Where the bytes and the time of a graph go: part by part, from the file alone."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnxruntime

from fusion.onnx_graph import part_of
from inference.contract.passport import LayerCost
from inference.engine import INPUT_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_RUNS: Final = 200


def layer_costs(
    model: bytes, lobby: NDArray[np.float32], parameters: Mapping[str, int], *, runs: int = _RUNS
) -> tuple[LayerCost, ...]:
    """Bytes and share of the time of every part of a graph.

    Args:
        model: an ONNX file whose nodes are named after parts (`fusion.onnx_graph.Graph.part`).
        lobby: (players, features) to score.
        parameters: part → numbers it stores; the parts, in the order of the result.
        runs: that time is taken over.
    """
    sizes, spent = file_bytes(model), kernel_us(model, lobby, runs=runs)
    whole = sum(spent.values())
    return tuple(
        LayerCost(
            layer=part,
            parameters=count,
            file_bytes=sizes[part],
            cpu_share=float(f"{spent.get(part, 0.0) / whole:.4g}"),
        )
        for part, count in parameters.items()
    )


def file_bytes(model: bytes) -> Counter[str]:
    """Part → bytes of its nodes and of the arrays that they are the first to read; "" is whatever belongs to none."""
    proto = onnx.load_from_string(model)
    arrays = {array.name: array.ByteSize() for array in proto.graph.initializer}
    sizes: Counter[str] = Counter()
    for node in proto.graph.node:
        sizes[part_of(node.name)] += node.ByteSize() + sum(arrays.pop(name, 0) for name in node.input)
    sizes[""] += len(model) - sizes.total()
    return sizes


def kernel_us(model: bytes, lobby: NDArray[np.float32], *, runs: int = _RUNS) -> Mapping[str, float]:
    """Part → microseconds in its kernels per run: one thread, and what was folded at load costs nothing.

    Of every node the slowest tenth of the runs is left out: there another process was on the core.
    ONNX Runtime fuses nodes and names the result after one of them, which is of the same part. Nodes of no part count
    under names that it makes up.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, {INPUT_NAME: lobby})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
    durations: defaultdict[str, list[int]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node":
            durations[event["name"].removeprefix("fused ").removesuffix("_kernel_time")].append(event["dur"])
    spent: defaultdict[str, float] = defaultdict(float)
    for node, taken in durations.items():
        spent[part_of(node)] += float(np.mean(sorted(taken)[: max(1, len(taken) * 9 // 10)]))
    return spent
