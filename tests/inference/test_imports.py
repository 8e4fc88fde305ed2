"""What a serving host does not install must never be imported, and start-up must stay light."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FORBIDDEN = (
    *("torch", "tensorly", "onnx", "onnxmltools", "polars", "yaml", "lightgbm", "sklearn", "fusion", "optuna"),
    *("matplotlib", "jinja2"),
)
MODULES = (
    "inference.server",
    "inference.client",
    "inference.cli",
    "inference.inputs",
    "inference.inspection",
    "inference.comparison",
    "inference.serve_command",
    "inference.configuration",
    "inference.supervision.supervisor",
    "inference.supervision.worker",
)


def imported(module: str) -> set[str]:
    program = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60).stdout
    return set(json.loads(output))


@pytest.mark.process
@pytest.mark.parametrize("module", MODULES)
def test_serving_imports_nothing_of_the_build_half(module: str) -> None:
    assert module in (names := imported(module))
    assert not names.intersection(FORBIDDEN)


@pytest.mark.process
def test_the_command_line_waits_with_what_is_heavy() -> None:
    assert not imported("inference.cli").intersection({"grpc", "onnxruntime", "numpy", "prometheus_client"})


@pytest.mark.process
def test_a_supervisor_loads_no_model_and_no_transport() -> None:
    assert not imported("inference.supervision.supervisor").intersection({"grpc", "onnxruntime", "numpy"})
