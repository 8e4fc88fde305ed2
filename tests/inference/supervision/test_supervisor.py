"""A fleet in this process, with real workers, where the system is short of descriptors or has given away many."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inference.contract.errors import PlayfuseError
from inference.repository.state import ModelServing, Serving
from inference.settings import ServerSettings
from inference.supervision.fleet_metrics import FleetMetrics
from inference.supervision.messages import Job
from inference.supervision.process import WorkerProcess, ending
from inference.supervision.supervisor import Fleet
from tests.support.artifacts import write_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

NULL = Path("/dev/null")
FORMER_BOUND = 1_024
"""`select.select` takes no descriptor from here on."""


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """Not one more for this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with NULL.open() as lowest_free:
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free.fileno(), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def many_descriptors() -> Iterator[None]:
    """All below the bound are taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while taken.enter_context(NULL.open()).fileno() < FORMER_BOUND:
            pass
        yield


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    write_artifact(tmp_path / "artifact")
    metrics = FleetMetrics(1)
    settings = ServerSettings(port=0, metrics_port=0, reuse_port=True)
    yield Fleet(tmp_path / "artifact", settings, 1, metrics, pin=False)
    metrics.close()


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= FORMER_BOUND + 64, reason="a lower hard limit")
def test_workers_may_have_any_descriptor(fleet: Fleet) -> None:
    ours, others = socket.socketpair()
    with ours, others, many_descriptors():
        assert fleet.start(ours) is not None
        others.send(bytes([signal.SIGTERM]))
        fleet.run(ours)
        assert fleet.stop()


def test_a_start_without_descriptors_is_a_fault_that_is_told(fleet: Fleet) -> None:
    ours, others = socket.socketpair()
    with ours, others, no_descriptors(), pytest.raises(PlayfuseError, match="worker 0: got Too many open files"):
        fleet.start(ours)
    assert fleet.pids() == []


def test_a_worker_that_ends_before_it_hears_its_job_is_found_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    # More than a socket holds: it is still being sent when the other end closes.
    serving = Serving(models={f"model {number}": ModelServing(live="1") for number in range(20_000)})
    worker = WorkerProcess(Job(number=0, artifact=None, settings=ServerSettings(), serving=serving))
    assert worker.receive() == []
    assert worker.has_ended
    assert ending(worker.reap()) == "ended with exit code 1"
