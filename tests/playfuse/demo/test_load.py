from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from inference.contract.errors import PlayfuseError
from playfuse.demo import load
from playfuse.demo.metrics import Scrape
from tests.support.servers import running_server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("load")]


def test_report_agrees_with_what_the_server_counted(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        report = load.run(server, tmp_path, users=8, seconds=3)
        after = Scrape.read(server.metrics_url)
    assert report.failures == 0
    assert report.requests == after.total("playfuse_request_seconds_count", method="Predict", code="OK") > 0
    assert report.predictions == after.total("playfuse_predictions_total")
    # Every player of a request is scored on all eight behaviours.
    assert report.predictions == 8 * report.players > 8 * report.requests
    assert 0 < report.p50_ms <= report.p99_ms
    assert report.seconds > 0
    ((source, joules),) = report.joules_per_1000_predictions.items()
    assert source in after.by("source", "playfuse_energy_joules_total")
    assert joules > 0
    assert report.cpu_us_per_prediction > 0


def test_a_load_without_any_answer_is_an_error(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        elsewhere = replace(server, address="127.0.0.1:1")
        with pytest.raises(PlayfuseError, match="no answer"):
            load.run(elsewhere, tmp_path, users=1, seconds=3)
