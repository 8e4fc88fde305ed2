"""Real servers in processes of their own, on free ports of loopback."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from inference import scraping
from playfuse import server_process
from tests.support.artifacts import write_artifact
from tests.support.repositories import write_versions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from playfuse.server_process import ServerProcess


@contextlib.contextmanager
def running_server(folder: Path, *arguments: str) -> Iterator[ServerProcess]:
    """A server of a small valid artifact, written to `folder`; stopped at the end, and it has to end well."""
    artifact = folder / "artifact"
    write_artifact(artifact)
    with _running([str(artifact), *arguments], folder / "server.log") as server:
        yield server


@contextlib.contextmanager
def running_models(folder: Path, models: Mapping[str, Sequence[str]], *arguments: str) -> Iterator[ServerProcess]:
    """A server of small models, name → versions, written to `folder/models`; stopped as well."""
    for name, versions in models.items():
        write_versions(folder / "models", name, versions)
    with _running(["--models", str(folder / "models"), *arguments], folder / "server.log") as server:
        yield server


@contextlib.contextmanager
def _running(arguments: list[str], log: Path) -> Iterator[ServerProcess]:
    server = server_process.start(arguments, log)
    try:
        yield server
    finally:
        code = server.stop()
    assert code == 0, server.log.read_text()


def scrape(server: ServerProcess) -> str:
    """What /metrics says now."""
    return scraping.scrape(server.metrics_url, timeout_seconds=10)
