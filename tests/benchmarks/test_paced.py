from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.callers import packed
from benchmarks.paced import send_evenly, usual_p99
from inference.contract.features import FEATURE_NAMES
from tests.support.servers import running_server, scrape

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.process
@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_every_request_is_sent_once_and_answered(tmp_path: Path, transport: str) -> None:
    message = packed(np.ones((64, len(FEATURE_NAMES)), np.float32)).SerializeToString()
    cores = os.sched_getaffinity(0)
    with running_server(tmp_path, "--transport", transport) as server:
        port = int(server.address.rpartition(":")[2])
        measured = send_evenly(port, message, 300, 1_000.0, 3, core=min(cores))
        counted = [line for line in scrape(server).splitlines() if line.startswith("playfuse_request_seconds_count")]
    answered = [line for line in counted if 'code="OK"' in line and 'method="Predict"' in line]
    assert [float(line.rpartition(" ")[2]) for line in answered] == [300.0]
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.usual_p99_ms > 0
    assert 0 < measured.requests_per_second <= 1_000 * 300 / 299 + 1
    assert os.sched_getaffinity(0) == cores


def test_one_stop_is_not_usual() -> None:
    seconds = np.full(1_000, 0.001)
    seconds[500:550] = 0.005
    assert np.percentile(seconds, 99) == pytest.approx(0.005)
    assert usual_p99(seconds.tolist(), 10) == pytest.approx(0.001)
    assert usual_p99(seconds.tolist(), 1) == pytest.approx(0.005)
