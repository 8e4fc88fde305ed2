"""A server in a process of its own under load: many callers at once, its end, floods."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

import grpc
import numpy as np
import psutil
import pytest

from benchmarks.callers import packed
from inference.calls import PLAIN_PUSHBACK_KEY
from inference.contract.features import FEATURE_NAMES
from inference.engine import Engine
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from tests.support.artifacts import BEHAVIOURS, build_graph
from tests.support.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playfuse.server_process import ServerProcess

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server


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
