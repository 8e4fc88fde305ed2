"""A whole server in this process, for tests that need no process of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from inference.server import Server
from inference.settings import Limits, ServerSettings
from tests.support.artifacts import write_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from inference.contract.behaviours import Behaviour


@contextlib.contextmanager
def served(
    folder: Path,
    *,
    limits: Limits | None = None,
    features: Sequence[str] | None = None,
    behaviours: Sequence[Behaviour] | None = None,
    **settings: object,
) -> Iterator[Server]:
    """A server of a small artifact on free ports of loopback; it has to drain well at the end."""
    names = {"features": features, "behaviours": behaviours}
    write_artifact(folder, **{label: value for label, value in names.items() if value is not None})  # type: ignore[arg-type]
    everything = {"port": 0, "metrics_port": 0, "limits": limits or Limits(), **settings}
    server = Server(folder, ServerSettings.model_validate(everything))
    server.start()
    try:
        yield server
    finally:
        drained = server.drain()
    assert drained
