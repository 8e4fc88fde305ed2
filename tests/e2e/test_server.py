"""A server in a process of its own, over loopback, as its users meet it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import numpy as np
import psutil
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.callers import packed
from inference.calls import PLAIN_PUSHBACK_KEY
from inference.client import CallFailed, Client, History
from inference.contract import features
from inference.contract.features import FEATURE_NAMES
from inference.contract.history import HistoryBatch, SessionTable
from inference.engine import Engine
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
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


class Mixed:
    """Ten thousand requests of all sorts, each with the answer it must get, from an engine in this process."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(3)
        self.sizes = rng.choice([1, 1, 1, 1, 2, 5, 16, 64], size=count)
        self.rows = rng.exponential(3.0, size=(int(self.sizes.sum()), len(FEATURE_NAMES))).astype(np.float32)
        self.begin = np.concatenate(([0], np.cumsum(self.sizes)))
        self.expected = Engine.from_bytes(build_graph(len(FEATURE_NAMES), BEHAVIOURS)).run(self.rows)
        self.kinds = rng.choice(["all", "some", "named", "faulty"], p=[0.5, 0.25, 0.2, 0.05], size=count)

    def request(self, number: int) -> tuple[pb.PredictRequest, list[int]]:
        rows = self.rows[self.begin[number] : self.begin[number + 1]]
        columns = list(range(len(BEHAVIOURS)))
        request = packed(rows)
        if self.kinds[number] == "some":
            columns = [number % len(BEHAVIOURS), (number + 3) % len(BEHAVIOURS)]
            request.behaviours.extend([BEHAVIOURS[column].name for column in columns])
        elif self.kinds[number] == "named":
            request.named_features.columns.extend(
                [pb.FeatureColumn(name=name, values=rows[:, i]) for i, name in enumerate(FEATURE_NAMES)]
            )
        elif self.kinds[number] == "faulty":
            request.packed_rows.values = request.packed_rows.values[:-4] + np.float32(np.inf).tobytes()
        return request, columns

    def check(self, number: int, stub: PlayerBehaviorStub) -> str:
        request, columns = self.request(number)
        try:
            reply = stub.Predict(request, timeout=PATIENCE_SECONDS)
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)
            right = self.kinds[number] == "faulty" and call.code() is grpc.StatusCode.INVALID_ARGUMENT
            return "right" if right else f"{number}: {call.code()} {call.details()}"
        values = np.frombuffer(reply.values, "<f4").reshape(reply.rows, len(reply.behaviours))
        expected = self.expected[self.begin[number] : self.begin[number + 1], columns]
        right = (
            self.kinds[number] != "faulty"
            and list(reply.behaviours) == [BEHAVIOURS[column].name for column in columns]
            and values.shape == expected.shape
            and bool(np.allclose(values, expected, rtol=1e-4, atol=1e-6))
        )
        return "right" if right else f"{number}: another's values"


def not_right(address: str, mixed: Mixed, count: int) -> list[str]:
    """What was wrong with the answers to mixed requests from 64 threads."""
    # Were two players' answers alike, a mix-up would go unseen.
    assert len(np.unique(mixed.expected.round(5), axis=0)) > 0.99 * len(mixed.expected)
    with ThreadPoolExecutor(64) as pool, grpc.insecure_channel(address) as channel:
        stub = PlayerBehaviorStub(channel)
        outcomes = list(pool.map(lambda number: mixed.check(number, stub), range(count)))
    return [outcome for outcome in outcomes if outcome != "right"]


def test_ten_thousand_mixed_requests_from_64_threads_each_get_their_own_answer(server: ServerProcess) -> None:
    assert not_right(server.address, Mixed(10_000), 10_000) == []


def test_so_they_do_from_a_server_that_has_one_core(tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    with contextlib.ExitStack() as stack:
        os.sched_setaffinity(0, {min(cores)})  # which the server inherits
        try:
            server = stack.enter_context(running_server(tmp_path, "--transport", "native"))
        finally:
            os.sched_setaffinity(0, cores)
        assert psutil.Process(server.pid).cpu_affinity() == [min(cores)]
        assert not_right(server.address, Mixed(3_000), 3_000) == []
        threads = [thread.id for thread in psutil.Process(server.pid).threads()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}


def test_sigterm_under_load_loses_no_accepted_call(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).exponential(size=(8, len(FEATURE_NAMES))).astype(np.float32)
    expected = Engine.from_bytes(build_graph(len(FEATURE_NAMES), BEHAVIOURS)).run(rows)
    outcomes: list[str] = []
    answered = threading.Semaphore(0)

    def caller(address: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(address, options=options) as channel:
            stub = PlayerBehaviorStub(channel)
            while True:
                try:
                    reply = stub.Predict(packed(rows), timeout=PATIENCE_SECONDS)
                except grpc.RpcError as error:
                    outcomes.append(cast("grpc.Call", error).code().name)
                    return
                values = np.frombuffer(reply.values, "<f4").reshape(expected.shape)
                outcomes.append("OK" if np.allclose(values, expected, rtol=1e-4) else "wrong values")
                answered.release()

    with running_server(tmp_path) as server:
        callers = [threading.Thread(target=caller, args=(server.address,)) for _ in range(16)]
        for thread in callers:
            thread.start()
        for _ in range(400):
            assert answered.acquire(timeout=PATIENCE_SECONDS)
        assert server.stop() == 0
    for thread in callers:
        thread.join(PATIENCE_SECONDS)
    # Every caller was answered up to the one call that came too late, and that one may be tried elsewhere.
    assert set(outcomes) == {"OK", "UNAVAILABLE"}
    assert outcomes.count("UNAVAILABLE") == 16


def test_absurd_load_is_answered_or_pushed_back_and_leaves_no_memory_behind(tmp_path: Path) -> None:
    arguments = ("--threads", "2", "--max-waiting-requests", "16")
    rows = np.ones((64, len(FEATURE_NAMES)), dtype=np.float32)
    with (
        running_server(tmp_path, *arguments) as server,
        grpc.insecure_channel(server.address, options=[("grpc.enable_retries", 0)]) as channel,
    ):
        stub = PlayerBehaviorStub(channel)
        process = psutil.Process(server.pid)

        def storm() -> list[grpc.Call]:
            futures = [stub.Predict.future(packed(rows), timeout=PATIENCE_SECONDS) for _ in range(2_000)]
            for future in futures:
                future.exception(PATIENCE_SECONDS)
            return cast("list[grpc.Call]", futures)

        codes: Counter[grpc.StatusCode] = Counter()
        pushed_back = 0
        resident: list[int] = []
        for _ in range(8):
            for call in storm():
                codes[call.code()] += 1
                pushed_back += PLAIN_PUSHBACK_KEY in dict(call.trailing_metadata() or ())
            resident.append(process.memory_info().rss)
        # How many find no room is a matter of speed; whoever finds none is told when to come back.
        assert codes[grpc.StatusCode.OK]
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert pushed_back == codes[grpc.StatusCode.RESOURCE_EXHAUSTED]
        # The second half brought 8,000 requests of 11 KB, 90 MB in all: had they stayed, it would show.
        assert max(resident[4:]) - max(resident[:4]) < 45 * 1024 * 1024
        assert stub.Predict(packed(rows), timeout=PATIENCE_SECONDS).rows == 64


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_flood_that_comes_at_once_ends_in_words_that_callers_understand(tmp_path: Path, transport: str) -> None:
    """While the server stands still, thousands of calls pile up unread: gRPC itself would cancel some of them."""
    arguments = ("--threads", "2", "--max-waiting-requests", "16", "--transport", transport)
    request = packed(np.ones((1, len(FEATURE_NAMES)), dtype=np.float32))
    with (
        running_server(tmp_path, *arguments) as server,
        grpc.insecure_channel(server.address, options=[("grpc.enable_retries", 0)]) as channel,
    ):
        stub = PlayerBehaviorStub(channel)
        stub.Predict(request, timeout=PATIENCE_SECONDS)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            futures = [stub.Predict.future(request, timeout=PATIENCE_SECONDS) for _ in range(3_000)]
        finally:
            os.kill(server.pid, signal.SIGCONT)
        for future in futures:
            future.exception(PATIENCE_SECONDS)
        codes = {cast("grpc.Call", future).code() for future in futures}
        assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert grpc.StatusCode.OK in codes


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
