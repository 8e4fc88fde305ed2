"""Small valid artifacts: a random network over the real features, built without the build half."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference.contract import artifact as artifacts
from inference.contract.artifact import Artifact, Manifest, Probe
from inference.contract.behaviours import DEFAULT_BEHAVIOURS, Behaviour
from inference.contract.features import FEATURE_NAMES, FEATURE_VERSION
from inference.contract.passport import BehaviourQuality, Cost, Energy, Interval, Lineage, Passport, StageQuality
from inference.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BEHAVIOURS = tuple(DEFAULT_BEHAVIOURS.values())
_HIDDEN = (64, 32)


def build_graph(features: int, behaviours: Sequence[Behaviour], *, seed: int = 0) -> bytes:
    """NaN → 0, log-like squashing, 64-32 ReLU, sigmoid for probabilities and exp - 1 ≥ 0 for amounts."""
    rng = np.random.default_rng(seed)
    widths = (features, *_HIDDEN, len(behaviours))
    initializers = [numpy_helper.from_array(np.zeros((), np.float32), "zero")]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["known"]),
        helper.make_node("Softsign", ["known"], ["x0"]),
    ]
    for layer, (width_in, width_out) in enumerate(itertools.pairwise(widths)):
        weights = rng.normal(scale=width_in**-0.5 * 2, size=(width_in, width_out)).astype(np.float32)
        bias = rng.normal(scale=0.1, size=width_out).astype(np.float32)
        initializers += [numpy_helper.from_array(weights, f"w{layer}"), numpy_helper.from_array(bias, f"b{layer}")]
        last = layer == len(widths) - 2
        nodes.append(helper.make_node("Gemm", [f"x{layer}", f"w{layer}", f"b{layer}"], [f"z{layer}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"z{layer}"], [f"x{layer + 1}"]))
    is_binary = np.array([behaviour.is_binary for behaviour in behaviours])
    initializers += [
        numpy_helper.from_array(is_binary, "is_binary"),
        numpy_helper.from_array(np.ones((), np.float32), "one"),
    ]
    link = f"z{len(_HIDDEN)}"
    nodes += [
        helper.make_node("Sigmoid", [link], ["probability"]),
        helper.make_node("Relu", [link], ["positive"]),
        helper.make_node("Exp", ["positive"], ["grown"]),
        helper.make_node("Sub", ["grown", "one"], ["amount"]),
        helper.make_node("Where", ["is_binary", "probability", "amount"], ["predictions"]),
    ]
    return serialize(nodes, initializers, features=features, behaviours=len(behaviours))


def serialize(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto],
    *,
    features: int,
    behaviours: int,
    element: int = TensorProto.FLOAT,
    rows: str | int = "rows",
    names: tuple[str, str] = ("features", "predictions"),
) -> bytes:
    """A checked graph of these nodes as bytes."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(names[0], element, [rows, features])],
        [helper.make_tensor_value_info(names[1], element, [rows, behaviours])],
        list(initializers),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def make_passport(behaviours: Sequence[Behaviour] = BEHAVIOURS) -> Passport:
    """A passport in which every figure differs, so that a table can be checked."""
    interval = Interval(value=0.8, low=0.79, high=0.81)
    return Passport(
        behaviours=tuple(
            BehaviourQuality(
                behaviour=behaviour.name,
                measure="auc" if behaviour.is_binary else "r2_log",
                best_teacher="mlp",
                teacher=interval,
                fused=Interval(value=0.799, low=0.78, high=0.82),
                change=Interval(value=-0.001, low=-0.002, high=0.001),
                test_rows=1_000,
            )
            for behaviour in behaviours
        ),
        stages=(StageQuality(stage="distil", parameters=6_000, mean_change=-0.001, worst_change=-0.004),),
        teachers_cost=Cost(parameters=600_000, file_bytes=2_400_000, cpu_us_per_lobby=9_000.0),
        fused_cost=Cost(parameters=6_000, file_bytes=24_000, cpu_us_per_lobby=60.0),
        energy=Energy(source="estimate", joules_per_lobby=0.0002),
        parity_error=1e-6,
        recipe={"trunk": "64-32"},
        seed=0,
        machine="test",
        decisions=("a random network, for tests",),
        lineage=Lineage(
            data_name="random", data_is_synthetic=True, data_sha256="0" * 64, teachers_sha256={"mlp": "1" * 64}
        ),
    )


def make_manifest(
    model: bytes, features: Sequence[str], behaviours: Sequence[Behaviour], *, name: str = "testnet", version: str = "1"
) -> Manifest:
    """The manifest of a graph, with a probe that it answers itself."""
    rows = probe_rows(len(features))
    expected = Engine.from_bytes(model).run(rows)
    return Manifest(
        name=name,
        version=version,
        playfuse_version="0",
        feature_version=FEATURE_VERSION,
        features=tuple(features),
        behaviours=tuple(behaviours),
        priors={behaviour.name: 0.25 + index / 64 for index, behaviour in enumerate(behaviours)},
        synthetic=True,
        probe=Probe(
            rows=tuple(tuple(None if np.isnan(x) else float(x) for x in row) for row in rows),
            expected=tuple(tuple(float(x) for x in row) for row in expected),
        ),
        files_sha256={},
    )


def probe_rows(features: int, *, rows: int = 4, seed: int = 1) -> NDArray[np.float32]:
    """Random rows; the first has a missing value."""
    values = np.random.default_rng(seed).exponential(2.0, size=(rows, features)).astype(np.float32)
    values[0, 0] = np.nan
    return values


def write_artifact(
    path: Path,
    *,
    features: Sequence[str] = FEATURE_NAMES,
    behaviours: Sequence[Behaviour] = BEHAVIOURS,
    name: str = "testnet",
    version: str = "1",
    seed: int = 0,
    report: bytes | None = None,
) -> Artifact:
    """Write a valid artifact to `path` and read it back."""
    model = build_graph(len(features), behaviours, seed=seed)
    manifest = make_manifest(model, features, behaviours, name=name, version=version)
    artifacts.write(path, manifest=manifest, model=model, passport=make_passport(behaviours), report=report)
    return artifacts.read(path)
