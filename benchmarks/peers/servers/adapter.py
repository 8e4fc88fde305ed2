"""What a server under test has to offer, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from benchmarks.peers import open_inference
from benchmarks.peers.calls import Call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.peers.processes import Running
    from benchmarks.peers.work import Job, Models


@dataclass(frozen=True, slots=True)
class Setting:
    """How a server batches.

    Attributes:
        batch: most requests that run as one; 1: batching is off.
        wait_ms: how long a batch may wait for more.
    """

    batch: int = 1
    wait_ms: int = 0


NO_BATCHING = {"batching off": Setting()}
BATCHING = {**NO_BATCHING, "batching on": Setting(batch=64, wait_ms=1)}
"""Settings to try. With as many requests under way as here, a longer wait would only add to what a caller waits for."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a server is started with.

    Attributes:
        models: that do the job.
        cache: the environments are in there.
        scratch: folder for what it needs to write; empty.
        core: for all its processes.
    """

    models: Models
    cache: Path
    scratch: Path
    core: int


class Adapter(Protocol):
    """One server."""

    name: str
    """As the user names it, and as its requirements are called."""
    title: str
    """As the table shows it."""
    settings: Mapping[str, Setting]
    """What to try; the better one is measured."""

    def prepare(self, cache: Path) -> None:
        """Make what it needs beside the models: its environment.

        Raises:
            PlayfuseError: it cannot be made.
        """

    def start(self, setting: Setting, place: Place) -> Running:
        """Start it; it may not be ready yet."""

    def calls(self, job: Job) -> Sequence[Call]:
        """The requests of one job."""

    def expected(self, job: Job) -> Sequence[NDArray[np.float32]]:
        """What each of them has to be answered with."""

    def read(self, reply: bytes) -> NDArray[np.float32]:
        """The values of one reply."""


class OpenInference:
    """The requests of a server that speaks the Open Inference Protocol v2: one per teacher, features as raw bytes."""

    def calls(self, job: Job) -> Sequence[Call]:
        """One per behaviour."""
        return [
            Call(open_inference.INFER, open_inference.request(behaviour, job.teacher_rows)) for behaviour in job.links
        ]

    def expected(self, job: Job) -> Sequence[NDArray[np.float32]]:
        """What each teacher says."""
        return list(job.links.values())

    def read(self, reply: bytes) -> NDArray[np.float32]:
        """Links."""
        return open_inference.output(reply).ravel()
