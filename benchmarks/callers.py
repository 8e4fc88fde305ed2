"""Callers that look at what they get: every value, from many threads at once; beside a flood; while a server stops."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, cast

import grpc
import numpy as np

from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from inference.engine import Engine

_TIMEOUT_SECONDS: Final = 30.0
_SIZES: Final = (1, 1, 1, 1, 2, 5, 16, 64)
_ALONE: Final = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
"""A channel with a connection of its own, that tells every refusal."""


def packed(rows: NDArray[np.float32]) -> pb.PredictRequest:
    """Rows (players, features) as a request."""
    return pb.PredictRequest(packed_rows=pb.PackedRows(rows=len(rows), values=rows.astype("<f4").tobytes()))


def wrong_replies(address: str, engine: Engine, *, requests: int, threads: int) -> int:
    """Requests of all sizes from many threads: how many were answered with other values than their own."""
    rng = np.random.default_rng(3)
    sizes = rng.choice(_SIZES, size=requests)
    begin = np.concatenate(([0], np.cumsum(sizes)))
    rows = rng.exponential(3.0, size=(int(begin[-1]), engine.features)).astype(np.float32)
    expected = engine.run(rows)

    def is_wrong(number: int) -> bool:
        own = slice(begin[number], begin[number + 1])
        try:
            reply = stub.Predict(packed(rows[own]), timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError:
            return True
        values = np.frombuffer(reply.values, "<f4").reshape(reply.rows, len(reply.behaviours))
        return reply.degraded or not np.allclose(values, expected[own], rtol=1e-4, atol=1e-5)

    with ThreadPoolExecutor(threads) as pool, grpc.insecure_channel(address) as channel:
        stub = PlayerBehaviorStub(channel)
        return sum(pool.map(is_wrong, range(requests)))


def latencies_beside(
    address: str, request: pb.PredictRequest, load: Callable[[], object], *, threads: int
) -> dict[str, list[float]]:
    """Callers in a closed loop, each on a connection of its own and without retries, as long as a load takes.

    Returns:
        Seconds of every call, by the status it ended with.
    """
    seconds: dict[str, list[float]] = defaultdict(list)
    is_over = threading.Event()

    def caller() -> None:
        with grpc.insecure_channel(address, options=_ALONE) as channel:
            stub = PlayerBehaviorStub(channel)
            grpc.channel_ready_future(channel).result(_TIMEOUT_SECONDS)
            while not is_over.is_set():
                began = time.perf_counter()
                code = _ended(stub, request)
                seconds[code.name].append(time.perf_counter() - began)

    with ThreadPoolExecutor(threads) as pool:
        callers = [pool.submit(caller) for _ in range(threads)]
        try:
            load()
        finally:
            is_over.set()
        for ended in callers:
            ended.result()
    return dict(seconds)


def _ended(stub: PlayerBehaviorStub, request: pb.PredictRequest) -> grpc.StatusCode:
    try:
        stub.Predict(request, timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        return cast("grpc.Call", error).code()
    return grpc.StatusCode.OK


def outcomes_while_stopping(
    address: str, features: int, stop: Callable[[], int], *, threads: int, answers_before: int
) -> tuple[Counter[str], int]:
    """Callers in a closed loop, each on a connection of its own and without retries, until the server refuses them.

    Returns:
        How the calls ended, by status; and the server's exit code.
    """
    ended: Counter[str] = Counter()
    answered = threading.Semaphore(0)
    request = packed(np.ones((8, features), np.float32))

    def caller() -> None:
        with grpc.insecure_channel(address, options=_ALONE) as channel:
            stub = PlayerBehaviorStub(channel)
            code = grpc.StatusCode.OK
            while code is grpc.StatusCode.OK:
                code = _ended(stub, request)
                ended[code.name] += 1
                answered.release()

    callers = [threading.Thread(target=caller) for _ in range(threads)]
    for thread in callers:
        thread.start()
    for _ in range(answers_before):
        answered.acquire()
    exit_code = stop()
    for thread in callers:
        thread.join()
    return ended, exit_code
