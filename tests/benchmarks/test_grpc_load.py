from __future__ import annotations

import os
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from benchmarks.callers import packed
from benchmarks.grpc_load import load_here, send
from benchmarks.h2load import Load
from inference.contract.errors import PlayfuseError
from inference.contract.features import FEATURE_NAMES
from playfuse.demo.metrics import Scrape
from tests.support.servers import running_server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


def test_every_request_is_sent_once_and_a_failed_one_is_told(tmp_path: Path) -> None:
    message = packed(np.ones((2, len(FEATURE_NAMES)), np.float32)).SerializeToString()
    core = min(os.sched_getaffinity(0))
    with running_server(tmp_path) as server:
        port = int(server.address.rpartition(":")[2])
        measured = send(port, message, 101, Load(2, 3), core=core)
        here = load_here(port, message, 10, Load(1, 1))
        counted = Scrape.read(server.metrics_url).total("playfuse_request_seconds_count", method="Predict", code="OK")
        with pytest.raises(PlayfuseError, match="INVALID_ARGUMENT"):
            send(port, message[:-4], 1, Load(1, 1), core=core)
        with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            load_here(port, message[:-4], 2, Load(1, 1))
    assert counted == 101 + 10
    for one in (measured, here):
        assert one.requests_per_second > 0
        assert 0 < one.p50_ms <= one.p99_ms
