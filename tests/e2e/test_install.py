"""What `pip install playfuse` gives, without extras: made offline from the wheel and the dependencies it declares."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inference.client import Client, History
from playfuse import server_process

ROOT = Path(__file__).resolve().parents[2]
BUILD_ONLY = ("torch", "tensorly", "lightgbm", "polars", "onnx", "sklearn", "locust", "matplotlib", "jinja2")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    (path,) = folder.glob("playfuse-*.whl")
    return path


@pytest.fixture(scope="module")
def serving_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds playfuse and what it requires, nothing else."""
    folder = tmp_path_factory.mktemp("serving")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in serving_closure():
        for entry in {Path(file).parts[0] for file in importlib.metadata.files(name) or [] if ".." not in file.parts}:
            source = Path(str(importlib.metadata.distribution(name).locate_file(entry)))
            if entry != "__pycache__" and source.exists() and not (packages / entry).exists():
                (packages / entry).symlink_to(source)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True)
    return python


def serving_closure() -> set[str]:
    """Names of all distributions that playfuse requires without extras, directly or not."""
    found: set[str] = set()
    waiting = [("playfuse", frozenset[str]())]
    while waiting:
        name, extras = waiting.pop()
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})
            key = canonicalize_name(requirement.name)
            if wanted and key not in found:
                found.add(key)
                waiting.append((key, frozenset(requirement.extras)))
    return found


def test_wheel_holds_the_packages_the_licence_and_the_demo_artifact(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"playfuse", "fusion", "inference"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for package in ("playfuse", "fusion", "inference"):
        assert f"{package}/py.typed" in names
    assert any(name.endswith("/model.onnx") for name in names)
    assert any(name.startswith("fusion/telemetry/specs/") for name in names)
    assert {"fusion/report/report.html.j2", "fusion/report/report.css"} <= set(names)


def test_serving_install_lacks_everything_heavy(serving_python: Path) -> None:
    code = f"import importlib.util as u; print([m for m in {BUILD_ONLY!r} if u.find_spec(m)])"
    found = subprocess.run([serving_python, "-c", code], check=True, capture_output=True, text=True, cwd="/")
    assert found.stdout.strip() == "[]"


def test_serving_install_shows_only_what_it_can_do(serving_python: Path) -> None:
    playfuse = str(serving_python.with_name("playfuse"))
    shown = subprocess.run([playfuse, "--help"], check=True, capture_output=True, text=True, cwd="/").stdout
    assert {"serve", "predict", "inspect", "compare"} <= set(shown.split())
    refused = subprocess.run([playfuse, "fuse"], check=False, capture_output=True, text=True, cwd="/")
    assert refused.returncode == 2
    assert "pip install 'playfuse[fusion]'" in refused.stderr


@pytest.mark.process
def test_serving_install_serves_the_demo_artifact(serving_python: Path, tmp_path: Path) -> None:
    server = server_process.start(["--demo"], tmp_path / "server.log", python=serving_python)
    try:
        with Client(server.address, timeout_seconds=10) as client:
            prediction = client.predict(histories=[History([1_767_636_000], [3_600])])
    finally:
        code = server.stop()
    assert code == 0
    assert not prediction.degraded
    assert prediction.values.shape == (1, len(prediction.behaviours))
    assert np.isfinite(prediction.values).all()
