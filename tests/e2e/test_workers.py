"""A supervisor and its workers: real processes on one port."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import numpy as np
import psutil
import pytest

from benchmarks.callers import packed
from inference.client import CallFailed, Client
from inference.contract.features import FEATURE_NAMES
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from playfuse import server_process
from playfuse.demo.metrics import Scrape
from tests.support.artifacts import write_artifact
from tests.support.servers import running_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playfuse.server_process import ServerProcess

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 60.0
ROWS = np.ones((2, len(FEATURE_NAMES)), dtype=np.float32)
MANY_CONNECTIONS = 40
DEATHS = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("workers"), "--workers", "2") as server:
        yield server


def workers_of(server: ServerProcess) -> list[psutil.Process]:
    return psutil.Process(server.pid).children()


def alive(server: ServerProcess) -> float:
    return Scrape.read(server.metrics_url).total("playfuse_workers", state="alive")


def answered(server: ServerProcess) -> float:
    return Scrape.read(server.metrics_url).total("playfuse_request_seconds_count", method="Predict", code="OK")


def connection(server: ServerProcess, *, retries: bool = False) -> grpc.Channel:
    """One of its own: gRPC would share it among all channels to one target."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", int(retries))]
    return grpc.insecure_channel(server.address, options=options)


def predict_over_many_connections(server: ServerProcess) -> None:
    for _ in range(MANY_CONNECTIONS):
        with connection(server) as channel:
            assert PlayerBehaviorStub(channel).Predict(packed(ROWS), timeout=PATIENCE_SECONDS).rows == 2


def test_both_get_traffic_and_one_page_counts_it(server: ServerProcess) -> None:
    before = answered(server)
    seconds = {worker.pid: sum(worker.cpu_times()[:2]) for worker in workers_of(server)}
    assert len(seconds) == 2
    predict_over_many_connections(server)
    assert answered(server) == before + MANY_CONNECTIONS
    listening = {
        worker.pid
        for worker in workers_of(server)
        for each in worker.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr[1] == int(server.address.rpartition(":")[2])
    }
    assert listening == set(seconds)
    # Each worker's own page, as the supervisor asks for it.
    counts = []
    for worker in workers_of(server):
        (port,) = {
            each.laddr[1]
            for each in worker.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr[1] != int(server.address.rpartition(":")[2])
        }
        page = Scrape.read(f"http://127.0.0.1:{port}/metrics")
        counts.append(page.total("playfuse_request_seconds_count", method="Predict", code="OK"))
    assert sum(counts) == answered(server)
    assert min(counts) > 0, f"by chance once in 2**{MANY_CONNECTIONS - 1}"


def test_a_killed_worker_costs_only_its_own_calls_and_is_back(server: ServerProcess) -> None:
    stop = threading.Event()
    lost: dict[int, set[grpc.StatusCode]] = {}
    wrong: list[str] = []
    good = threading.Semaphore(0)

    def caller() -> None:
        with connection(server) as channel:
            stub = PlayerBehaviorStub(channel)
            while not stop.is_set():
                try:
                    reply = stub.Predict(packed(ROWS), timeout=PATIENCE_SECONDS, wait_for_ready=True)
                except grpc.RpcError as error:
                    lost.setdefault(threading.get_ident(), set()).add(cast("grpc.Call", error).code())
                    continue
                if reply.rows != 2:
                    wrong.append(str(reply.rows))
                good.release()

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for thread in callers:
        thread.start()
    try:
        for _ in range(100):
            assert good.acquire(timeout=PATIENCE_SECONDS)
        before = answered(server)
        restarts = Scrape.read(server.metrics_url).total("playfuse_worker_restarts_total")
        victim, survivor = workers_of(server)
        port = int(server.address.rpartition(":")[2])
        of_victim = [
            each
            for each in victim.net_connections("tcp")
            if each.status == psutil.CONN_ESTABLISHED and each.laddr[1] == port
        ]
        victim.kill()
        assert until(lambda: alive(server) == 1 or victim not in workers_of(server), seconds=PATIENCE_SECONDS)
        for _ in range(100):
            assert good.acquire(timeout=PATIENCE_SECONDS)
        assert until(lambda: alive(server) == 2, seconds=PATIENCE_SECONDS)
    finally:
        stop.set()
        for thread in callers:
            thread.join(PATIENCE_SECONDS)
    assert not wrong
    # Only who was connected to the killed worker has lost anything (a call, and what it sent before it noticed).
    assert len(lost) <= len(of_victim)
    assert set().union(*lost.values()) <= {grpc.StatusCode.UNAVAILABLE}
    assert survivor in workers_of(server)
    assert len(workers_of(server)) == 2
    assert answered(server) >= before, "what a dead worker has counted stays"
    assert Scrape.read(server.metrics_url).total("playfuse_worker_restarts_total") == restarts + 1
    assert "is gone: ended by signal 9" in server.log.read_text()
    predict_over_many_connections(server)


def test_a_rolling_restart_fails_no_call(server: ServerProcess) -> None:
    stop = threading.Event()
    failed: list[str] = []
    good = threading.Semaphore(0)

    def caller() -> None:
        with Client(server.address, timeout_seconds=PATIENCE_SECONDS) as client:
            while not stop.is_set():
                try:
                    client.predict(rows=ROWS)
                except CallFailed as error:
                    failed.append(str(error))
                good.release()

    former = {worker.pid for worker in workers_of(server)}
    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    try:
        before = answered(server)
        os.kill(server.pid, signal.SIGHUP)
        assert until(lambda: not former & {one.pid for one in workers_of(server)}, seconds=PATIENCE_SECONDS)
        for _ in range(100):
            assert good.acquire(timeout=PATIENCE_SECONDS)
    finally:
        stop.set()
        for thread in callers:
            thread.join(PATIENCE_SECONDS)
    assert failed == []
    assert answered(server) > before
    assert until(lambda: alive(server) == 2 and len(workers_of(server)) == 2, seconds=PATIENCE_SECONDS)


def test_deaths_in_the_middle_of_rolling_restarts_leave_two_workers_and_no_more(tmp_path: Path) -> None:
    rng = random.Random(4)
    write_artifact(tmp_path / "artifact")
    server = server_process.start([str(tmp_path / "artifact"), "--workers", "2"], tmp_path / "log")
    try:
        for _ in range(DEATHS):
            former = workers_of(server)
            os.kill(server.pid, signal.SIGHUP)
            assert until(partial(others_than, former, server), seconds=PATIENCE_SECONDS)
            time.sleep(rng.uniform(0, 0.8))  # as it falls: before, while or after another one starts
            running = workers_of(server)
            with contextlib.suppress(psutil.NoSuchProcess):
                for worker in rng.sample(running, min(1, len(running))):
                    worker.kill()
        # For a while, not only between two steps of the last restart: one too many would never go away.
        assert until(lambda: not until(lambda: not two_workers(server), seconds=3), seconds=PATIENCE_SECONDS)
        predict_over_many_connections(server)
    finally:
        code = server.stop()
    # Whether one was killed while it drained, and may have left calls unanswered.
    assert code in (0, 1), server.log.read_text()


def others_than(former: list[psutil.Process], server: ServerProcess) -> bool:
    return set(workers_of(server)) != set(former)


def two_workers(server: ServerProcess) -> bool:
    return alive(server) == len(workers_of(server)) == 2


def test_a_supervisor_that_can_start_nobody_now_goes_on_and_starts_them_later(tmp_path: Path) -> None:
    with running_server(tmp_path, "--workers", "2") as server:
        former = workers_of(server)
        with without_descriptors(server):
            os.kill(server.pid, signal.SIGHUP)
            assert until(lambda: "the former one stays" in server.log.read_text(), seconds=PATIENCE_SECONDS)
            assert workers_of(server) == former
            former[0].kill()
            assert until(lambda: said(server, "Too many open files.*Next start in") > 1, seconds=PATIENCE_SECONDS)
            assert workers_of(server) == former[1:]
            with connection(server) as channel:
                stub = PlayerBehaviorStub(channel)
                assert stub.Predict(packed(ROWS), timeout=PATIENCE_SECONDS, wait_for_ready=True).rows == 2
        assert until(partial(two_workers, server), seconds=PATIENCE_SECONDS)
        assert Scrape.read(server.metrics_url).total("playfuse_worker_restarts_total") == 1


@contextlib.contextmanager
def without_descriptors(server: ServerProcess) -> Iterator[None]:
    """The supervisor gets no descriptor but those that it has."""
    held = {int(entry.name) for entry in Path(f"/proc/{server.pid}/fd").iterdir()}
    lowest_free = min(set(range(len(held) + 1)).difference(held))
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))


def said(server: ServerProcess, pattern: str) -> int:
    """How often its log says that."""
    return len(re.findall(pattern, server.log.read_text()))


def test_a_second_one_is_refused_the_port(server: ServerProcess) -> None:
    port = server.address.rpartition(":")[2]
    result = serve("--demo", "--workers", "2", "--port", port, "--metrics-port", "0")
    assert result.returncode == 2
    assert f"address 127.0.0.1:{port}" in result.stderr
    assert "name another port with --port" in result.stderr


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "playfuse", "serve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)


def test_an_artifact_that_no_worker_can_serve_stops_the_whole_with_its_reason(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    model = tmp_path / "a" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    result = serve(str(tmp_path / "a"), "--workers", "2", "--port", "0", "--metrics-port", "0")
    assert result.returncode == 2
    assert "model.onnx" in result.stderr
    assert "SHA-256" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_broken_new_artifact_never_replaces_what_serves(tmp_path: Path) -> None:
    with running_server(tmp_path, "--workers", "2", "--pin-workers") as server:
        former = [worker.pid for worker in workers_of(server)]
        (tmp_path / "artifact" / "model.onnx").write_bytes(b"broken")
        os.kill(server.pid, signal.SIGHUP)
        assert until(lambda: "the former one stays" in server.log.read_text(), seconds=PATIENCE_SECONDS)
        assert [worker.pid for worker in workers_of(server)] == former
        assert alive(server) == 2
        cores = [worker.cpu_affinity() for worker in workers_of(server)]
        assert all(len(allowed) == 1 for allowed in cores)
        assert len(os.sched_getaffinity(0)) == 1 or cores[0] != cores[1]


def test_sigterm_under_load_drains_all_workers_together(tmp_path: Path) -> None:
    outcomes: list[str] = []
    good = threading.Semaphore(0)

    def caller(server: ServerProcess) -> None:
        with connection(server) as channel:
            stub = PlayerBehaviorStub(channel)
            while True:
                try:
                    reply = stub.Predict(packed(ROWS), timeout=PATIENCE_SECONDS)
                except grpc.RpcError as error:
                    outcomes.append(cast("grpc.Call", error).code().name)
                    return
                outcomes.append("OK" if reply.rows == 2 else "wrong")
                good.release()

    with running_server(tmp_path, "--workers", "2") as server:
        processes = workers_of(server)
        callers = [threading.Thread(target=caller, args=(server,)) for _ in range(16)]
        for thread in callers:
            thread.start()
        for _ in range(200):
            assert good.acquire(timeout=PATIENCE_SECONDS)
        assert server.stop() == 0
        assert not any(process.is_running() for process in processes)
    for thread in callers:
        thread.join(PATIENCE_SECONDS)
    assert set(outcomes) == {"OK", "UNAVAILABLE"}
    assert outcomes.count("UNAVAILABLE") == 16


def test_workers_do_not_outlive_their_supervisor(tmp_path: Path) -> None:
    write_artifact(tmp_path / "artifact")

    server = server_process.start([str(tmp_path / "artifact"), "--workers", "2"], tmp_path / "log")
    processes = workers_of(server)
    assert len(processes) == 2
    server.process.kill()
    server.process.wait()
    assert until(lambda: not any(process.is_running() for process in processes), seconds=PATIENCE_SECONDS)


def test_old_connections_are_asked_to_close(tmp_path: Path) -> None:
    """So that a worker that has come back gets its share: a caller moves on without losing a call."""
    with running_server(tmp_path, "--max-connection-age-seconds", "0.2") as server, connection(server) as channel:
        stub = PlayerBehaviorStub(channel)
        ports: set[int] = set()

        def moved_on() -> bool:
            assert stub.Predict(packed(ROWS), timeout=PATIENCE_SECONDS, wait_for_ready=True).rows == 2
            process = psutil.Process(server.pid)
            ports.update(each.raddr[1] for each in process.net_connections("tcp") if each.raddr)
            return len(ports) > 2

        assert until(moved_on, seconds=PATIENCE_SECONDS)
