from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.callers import packed
from benchmarks.paced import send_evenly
from inference.contract.features import FEATURE_NAMES
from tests.support.servers import running_server, scrape

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


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
    assert 0 < measured.requests_per_second <= 1_000 * 300 / 299 + 1
    assert os.sched_getaffinity(0) == cores
