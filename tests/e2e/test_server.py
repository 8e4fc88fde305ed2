"""A server in a process of its own, over loopback, as its users meet it."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.parser import text_string_to_metric_families

from inference.client import CallFailed, Client, History
from inference.contract import features
from inference.contract.features import FEATURE_NAMES
from inference.contract.history import HistoryBatch, SessionTable
from inference.engine import Engine
from playfuse.demo.metrics import Scrape
from tests.support.artifacts import BEHAVIOURS, build_graph
from tests.support.servers import running_server, scrape
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playfuse.server_process import ServerProcess

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 60.0
MAX_RESIDENT_BYTES = 150 * 1024 * 1024
NOW = 1_750_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout_seconds=PATIENCE_SECONDS) as client:
        yield client


def test_it_says_what_it_serves(server: ServerProcess) -> None:
    said = server.log.read_text()
    for part in ("testnet 1", server.address, server.metrics_url, "churn_7d", "energy", "ready"):
        assert part in said


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_its_memory_can_be_bounded(tmp_path: Path, transport: str) -> None:
    bound = 4 * 1024**3
    arguments = ("--transport", transport, "--max-memory-bytes", str(bound))
    with running_server(tmp_path, *arguments) as server, Client(server.address, timeout_seconds=30) as client:
        assert resource.prlimit(server.pid, resource.RLIMIT_AS)[0] == bound
        assert psutil.Process(server.pid).memory_info().vms < bound
        assert client.predict(features={"sessions_7d": [1.0]}).values.shape[0] == 1


def test_it_is_healthy_and_reflects(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.address) as channel:
        for service in ("", "playfuse.v1.PlayerBehavior"):
            request = health_pb2.HealthCheckRequest(service=service)
            status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_SECONDS).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "playfuse.v1.PlayerBehavior" in database.get_services()
        DescriptorPool(database).FindServiceByName("playfuse.v1.PlayerBehavior")


def test_three_forms_of_one_player_give_one_answer(client: Client) -> None:
    starts, durations = np.array([NOW, NOW + 90_000]), np.array([3_600, 1_800])
    table = SessionTable(starts, durations, np.array([1, 0], np.int8))
    as_of = table.end_seconds[1:]
    rows = features.compute(HistoryBatch(table, np.array([0]), np.array([2]), as_of))
    answers = [
        client.predict(rows=rows, nan_is_missing=True),
        client.predict(features={name: rows[:, i] for i, name in enumerate(FEATURE_NAMES) if not np.isnan(rows[0, i])}),
        client.predict(histories=[History(starts.tolist(), durations.tolist(), [True, False])]),
    ]
    assert len({answer.values.tobytes() for answer in answers}) == 1
    expected = Engine.from_bytes(build_graph(len(FEATURE_NAMES), BEHAVIOURS)).run(rows)
    np.testing.assert_allclose(answers[0].values, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("forms", "said"),
    [
        (
            {"rows": np.ones((1, 3))},
            f"got 12 bytes, expected {4 * len(FEATURE_NAMES)}: 1 rows of {len(FEATURE_NAMES)} float32 features",
        ),
        (
            {"rows": np.full((1, len(FEATURE_NAMES)), np.nan)},
            "row 0, feature recency_hours: got nan, expected a finite",
        ),
        ({"features": {"sesions_7d": [1.0]}}, "got 'sesions_7d', expected a feature of this model"),
        ({"histories": [History([NOW], [60], (), 5)]}, f"as_of_seconds: got 5, expected {NOW + 60} or later"),
        ({"features": {"sessions_7d": [1.0]}, "behaviours": ["churn"]}, "got 'churn', expected a behaviour of this"),
    ],
)
def test_wrong_input_is_named(client: Client, forms: dict[str, Any], said: str) -> None:
    with pytest.raises(CallFailed) as refused:
        client.predict(**forms)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert said in refused.value.details


def test_metrics_tell_everything(server: ServerProcess, client: Client) -> None:
    client.predict(features={"sessions_7d": [1.0, 2.0]}, behaviours=["churn_14d"])
    families = {family.name: family for family in text_string_to_metric_families(scrape(server))}
    expected = {
        *("playfuse_request_seconds", "playfuse_requests_in_flight", "playfuse_rejected", "playfuse_degraded"),
        *("playfuse_sessions_dropped", "playfuse_batch_rows", "playfuse_queue_wait_seconds", "playfuse_queue_rows"),
        *("playfuse_inference_seconds", "playfuse_predictions", "playfuse_model_info", "playfuse_energy_joules"),
        *("playfuse_cpu_seconds", "process_resident_memory_bytes", "process_open_fds"),
    }
    assert expected <= families.keys()
    predictions = {sample.labels["behaviour"]: sample.value for sample in families["playfuse_predictions"].samples}
    assert predictions["churn_14d"] >= 2
    (energy,) = {sample.labels["source"] for sample in families["playfuse_energy_joules"].samples}
    assert energy in ("rapl", "estimate")
    first = families["playfuse_energy_joules"].samples[0].value
    assert until(
        lambda: Scrape.read(server.metrics_url).total("playfuse_energy_joules_total") > first, seconds=PATIENCE_SECONDS
    )


def test_one_worker_stays_small(server: ServerProcess, client: Client) -> None:
    client.predict(rows=np.ones((1_024, len(FEATURE_NAMES))))
    assert psutil.Process(server.pid).memory_info().rss <= MAX_RESIDENT_BYTES


def playfuse(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "playfuse", *arguments]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, env=environment
    )


def test_a_taken_port_is_an_error_with_a_way_out(server: ServerProcess, tmp_path: Path) -> None:
    port = server.address.rpartition(":")[2]
    artifact = server.log.parent / "artifact"
    result = playfuse("serve", str(artifact), "--port", port, "--metrics-port", "0")
    assert result.returncode == 2
    assert f"address 127.0.0.1:{port}" in result.stderr
    assert "name another port with --port" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_under_the_log_stops_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "playfuse", "serve", "--demo", "--port", str(port), "--metrics-port", "0"]
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(command, stdout=full, stderr=full)
    try:
        with Client(f"127.0.0.1:{port}", timeout_seconds=PATIENCE_SECONDS) as client:
            client.wait_until_ready(PATIENCE_SECONDS)
            assert client.predict(features={"sessions_7d": [3.0]}).values.shape[0] == 1
    finally:
        process.terminate()
        assert process.wait(timeout=PATIENCE_SECONDS) == 0


def test_the_shell_gets_answers(server: ServerProcess) -> None:
    result = playfuse("predict", "--target", server.address, "--history", "2026-01-05T18:00,3600", "--json")
    assert result.returncode == 0, result.stderr
    assert '"model_name": "testnet"' in result.stdout


def test_without_a_server_the_shell_says_so(tmp_path: Path) -> None:
    result = playfuse("predict", "--target", "127.0.0.1:1", "--feature", "sessions_7d=1", "--timeout-seconds", "0.5")
    assert result.returncode == 2
    assert "playfuse serve --demo" in result.stderr
    assert "Traceback" not in result.stderr
