"""A headless Locust run against a server, told from the server's own metrics."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from inference.contract.errors import PlayfuseError
from playfuse.demo.metrics import Scrape

if TYPE_CHECKING:
    from playfuse.server_process import ServerProcess

LOCUSTFILE: Final = Path(__file__).resolve().parents[2] / "loadtests" / "locustfile.py"
_STARTING_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What the server did under load.

    Attributes:
        seconds: length of the load.
        requests: answered with OK.
        failures: requests that Locust counted as failed, wrong replies among them.
        players: scored.
        predictions: players times behaviours.
        p50_ms: median from a call's arrival to its reply.
        p99_ms: the 99th percentile of the same.
        joules_per_1000_predictions: source of the energy figure → joules; sources are never added up.
        cpu_us_per_prediction: CPU time of the server.
    """

    seconds: float
    requests: float
    failures: int
    players: float
    predictions: float
    p50_ms: float
    p99_ms: float
    joules_per_1000_predictions: dict[str, float]
    cpu_us_per_prediction: float


def run(server: ServerProcess, folder: Path, *, users: int, seconds: int) -> LoadReport:
    """Let `users` closed-loop callers loose on the server for some seconds.

    Args:
        server: what to load.
        folder: for `load.json` (Locust's statistics) and `load.log`.
        users: how many callers, each with its own connection.
        seconds: how long.

    Raises:
        PlayfuseError: Locust did not run or had no answer at all.
    """
    before = Scrape.read(server.metrics_url)
    results = folder / "load.json"
    results.unlink(missing_ok=True)
    log = folder / "load.log"
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", server.address]
    command += ["-u", str(users), "-r", str(users), "-t", f"{seconds}s", "--json-file", str(results.with_suffix(""))]
    with log.open("wb") as output:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=seconds + _STARTING_SECONDS,
            check=False,
        )
    during = Scrape.read(server.metrics_url).since(before)
    entries: list[dict[str, Any]] = json.loads(results.read_text()) if results.is_file() else []
    if not sum(entry["num_requests"] - entry["num_failures"] for entry in entries):
        raise PlayfuseError(
            "Locust", got=f"no answer; it said:\n{log.read_text()[-2_000:].strip()}", expected="answers from the server"
        )
    return report(entries, during)


def report(entries: list[dict[str, Any]], during: Scrape) -> LoadReport:
    """Put Locust's statistics and the difference of two scrapes together.

    Args:
        entries: Locust's, one per name of request.
        during: what the server counted during the load.
    """
    predictions = during.total("playfuse_predictions_total")
    thousands = predictions / 1_000
    last = max(entry["last_request_timestamp"] for entry in entries)
    return LoadReport(
        seconds=last - min(entry["start_time"] for entry in entries),
        requests=during.total("playfuse_request_seconds_count", method="Predict", code="OK"),
        failures=sum(entry["num_failures"] for entry in entries),
        players=during.total("playfuse_batch_rows_sum"),
        predictions=predictions,
        p50_ms=1_000 * during.quantile(0.50, "playfuse_request_seconds", method="Predict"),
        p99_ms=1_000 * during.quantile(0.99, "playfuse_request_seconds", method="Predict"),
        joules_per_1000_predictions={
            source: joules / thousands for source, joules in during.by("source", "playfuse_energy_joules_total").items()
        },
        cpu_us_per_prediction=1e6 * during.total("playfuse_cpu_seconds_total") / predictions,
    )
