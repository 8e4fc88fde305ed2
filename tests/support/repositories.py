"""Small models in versions that answer differently, and what each of them answers."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.contract.features import FEATURE_NAMES
from inference.core import Request
from inference.engine import Engine
from inference.repository.repository import Repository
from inference.server import Server
from inference.settings import ServerSettings
from tests.support.artifacts import BEHAVIOURS, build_graph, write_artifact
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest
    from numpy.typing import NDArray

    from inference.models import ServedModel
    from inference.repository.router import Router

ROWS = np.random.default_rng(5).exponential(2.0, size=(3, len(FEATURE_NAMES))).astype(np.float32)
"""Players that the versions differ on."""


def seed_of(name: str, version: str) -> int:
    """What makes a version's weights."""
    return int.from_bytes(f"{name} {version}".encode(), "big") % 2**31


def write_versions(root: Path, name: str, versions: Sequence[str]) -> None:
    """Write `root/name/version/` for each."""
    for version in versions:
        write_artifact(root / name / version, name=name, version=version, seed=seed_of(name, version))


def expected(name: str, version: str, rows: NDArray[np.float32] = ROWS) -> NDArray[np.float32]:
    """(rows, behaviours): what that version answers."""
    return Engine.from_bytes(build_graph(len(FEATURE_NAMES), BEHAVIOURS, seed=seed_of(name, version))).run(rows)


def damage(root: Path, name: str, version: str) -> None:
    """Change one byte of the graph."""
    model = root / name / version / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)


def remove(root: Path, name: str, version: str = "") -> None:
    """Delete a version's folder, or the whole model's."""
    shutil.rmtree(root / name / version)


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path, *, look: str = "iterdir") -> None:
    """Nobody may look into this folder, as where it is another user's; root, as whom tests may run, really may."""
    really: Callable[[Path], Any] = getattr(Path, look)

    def looked(path: Path) -> Any:
        if path == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return really(path)

    monkeypatch.setattr(Path, look, looked)


@contextlib.contextmanager
def opened(root: Path, settings: ServerSettings | None = None) -> Iterator[Repository]:
    """A repository without a server."""
    repository = Repository(root, settings or ServerSettings())
    try:
        yield repository
    finally:
        repository.close()


@contextlib.contextmanager
def served_models(root: Path, **settings: object) -> Iterator[Server]:
    """A whole server of the models in a folder, in this process; it has to drain well at the end."""
    ports = {"port": 0, "metrics_port": 0, "admin_port": 0}
    server = Server(None, ServerSettings.model_validate({**ports, "models": root, **settings}))
    server.start()
    try:
        yield server
    finally:
        drained = server.drain()
    assert drained


def live(repository: Repository, name: str = "net") -> str:
    return repository.router.find(name).version


class Broken:
    """An engine that fails on every run once it is served."""

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        raise RuntimeError("broken")


def fail_until_taken_back(router: Router, name: str, version: str, *, seconds: float) -> bool:
    """Break a version on trial and call the model until the trial is over; whether it was in time."""
    router.find(name, version)._scoring._core._engine = Broken()
    request = Request(ROWS.astype("<f4").tobytes(), len(ROWS))

    def calls_until_it_is_gone() -> bool:
        for number in range(50):
            router.find(name, "", f"player {number}").batcher.submit(request)
        return router.route(name).canary is None

    return until(calls_until_it_is_gone, seconds=seconds)


def answers(model: ServedModel) -> bool:
    """Whether a model answers what its version answers."""
    response = model.batcher.submit(Request(ROWS.astype("<f4").tobytes(), len(ROWS)))
    values = np.frombuffer(response.values, "<f4").reshape(len(ROWS), -1)
    return np.allclose(values, expected(model.name, model.version), rtol=1e-5, atol=1e-6) and not response.degraded
