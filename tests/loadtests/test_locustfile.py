"""The real Locust against a real server, in processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from playfuse.demo.metrics import Scrape
from tests.support.servers import running_server

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"lobby of 64, packed rows", "one player, packed row", "one player, raw sessions"}


def run_locust(
    host: str, json_file: Path, *arguments: str
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    # Coverage's trace function and gevent's switches do not go together; the server is measured, its load is not.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    results = json_file.with_suffix("")
    options = ["--headless", "--only-summary", "--json-file", results, "--csv", results, "--host", host]
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", *map(str, options), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done, json.loads(json_file.read_text())


@pytest.mark.process
@pytest.mark.xdist_group("load")
def test_every_kind_of_user_gets_right_replies(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        done, stats = run_locust(server.address, tmp_path / "stats.json", "-u", "10", "-r", "10", "-t", "4s")
        answered = Scrape.read(server.metrics_url).total("playfuse_request_seconds_count", code="OK")
    assert done.returncode == 0, done.stderr
    assert {entry["name"] for entry in stats} == LABELS
    assert all(entry["num_requests"] > 0 and entry["num_failures"] == 0 for entry in stats), stats
    # What ran when time was up is cut off: Locust does not count it, the server may.
    assert answered >= sum(entry["num_requests"] for entry in stats)


@pytest.mark.process
@pytest.mark.xdist_group("load")
def test_refused_requests_count_as_failures(tmp_path: Path) -> None:
    with running_server(tmp_path, "--max-rows", "1") as server:
        done, stats = run_locust(server.address, tmp_path / "stats.json", "-u", "4", "-r", "4", "-t", "4s", "LobbyUser")
    assert done.returncode == 1
    (lobby,) = stats
    assert lobby["num_requests"] == lobby["num_failures"] > 0
    assert "INVALID_ARGUMENT: " in (tmp_path / "stats_failures.csv").read_text()
