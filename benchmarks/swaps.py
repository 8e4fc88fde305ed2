"""100 swaps under full load: `python -m benchmarks.swaps`, results in `benchmarks/results/swaps.json`.

A server of one model in several versions that answer differently; callers in closed loops that check every value of
every reply against the version that the reply names; and an operator who loads, puts on trial, promotes and rolls back.
The same load without any swap, in the same run, stands beside it.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import grpc
import numpy as np
import onnx
import psutil
from onnx import numpy_helper

from benchmarks.callers import packed
from inference import engine as engines
from inference.admin_client import AdminClient
from inference.cli import demo_artifact
from inference.console import console
from inference.contract import artifact as artifacts
from inference.engine import Engine
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from playfuse import server_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
    from playfuse.server_process import ServerProcess

    Versions = Mapping[str, NDArray[np.float32]]

RESULTS: Final = Path(__file__).parent / "results" / "swaps.json"
VERSIONS: Final = ("1", "2", "3", "4")
POOL_PLAYERS: Final = 256
CALLERS: Final = 16
SWAPS: Final = 100
_SIZES: Final = (1, 2, 8, 64)
_TIMEOUT_SECONDS: Final = 30.0
_CALLS_PER_STEP: Final = 20
"""Calls between two changes at least: so that every version answers some."""


@dataclass(slots=True)
class Footprint:
    """What a process holds at one moment."""

    resident_bytes: int
    threads: int
    descriptors: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Now."""
        process = psutil.Process(pid)
        return cls(process.memory_info().rss, process.num_threads(), process.num_fds())


@dataclass(slots=True)
class Heard:
    """What the callers got."""

    calls: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def percentile_ms(self, percent: float) -> float:
        """Of the times of all calls."""
        return float(np.percentile(self.seconds, percent) * 1e3)


class Callers:
    """Threads in closed loops, each on a connection of its own; no call is tried twice.

    Args:
        address: of the server.
        rows: (players, features) that all requests are cut from.
        answers: version → (players, behaviours), what it answers to these.
        count: threads.
    """

    def __init__(self, address: str, rows: NDArray[np.float32], answers: Versions, count: int) -> None:
        self._address = address
        self._rows = rows
        self._answers = answers
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.heard = Heard()
        self._threads = [threading.Thread(target=self._call, args=(seed,)) for seed in range(count)]

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, calls: int, seconds: float = 60.0) -> None:
        """Until so many more calls have ended.

        Raises:
            TimeoutError: they have not.
        """
        target, deadline = self.heard.calls + calls, time.monotonic() + seconds
        while self.heard.calls < target:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{target - self.heard.calls} calls have not ended within {seconds:g} s")
            time.sleep(0.002)

    def take(self) -> Heard:
        """What was heard since the last time."""
        with self._lock:
            heard, self.heard = self.heard, Heard()
        return heard

    def _call(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(self._address, options=options) as channel:
            stub = PlayerBehaviorStub(channel)
            while not self._stop.is_set():
                size = int(rng.choice(_SIZES))
                begin = int(rng.integers(0, len(self._rows) - size + 1))
                request = packed(self._rows[begin : begin + size])
                form = int(rng.integers(0, 3))  # recognised by shape alone, with an id, with a key
                request.request_id = f"call {rng.integers(1 << 30)}" if form == 1 else ""
                request.routing_key = f"player {rng.integers(1 << 30)}" if form == 2 else ""
                began = time.monotonic()
                try:
                    reply, failure = stub.Predict(request, timeout=_TIMEOUT_SECONDS), ""
                except grpc.RpcError as error:
                    reply, failure = None, cast("grpc.Call", error).code().name
                self._note(reply, failure, slice(begin, begin + size), time.monotonic() - began)

    def _note(self, reply: pb.PredictResponse | None, failure: str, own: slice, seconds: float) -> None:
        wrong = False
        if reply is not None:
            values = np.frombuffer(reply.values, "<f4").reshape(reply.rows, len(reply.behaviours))
            expected = self._answers.get(reply.model_version)
            wrong = expected is None or reply.degraded or not np.allclose(values, expected[own], rtol=1e-4, atol=1e-5)
        with self._lock:
            heard = self.heard
            heard.calls += 1
            heard.seconds.append(seconds)
            heard.wrong += wrong
            if reply is None:
                heard.failed[failure] += 1
            else:
                heard.by_version[reply.model_version] += 1


def swaps(admin: AdminClient, name: str, versions: Sequence[str], callers: Callers, count: int) -> Iterator[float]:
    """Make another version live, so often; seconds that each change took.

    Every fifth goes by a trial: put on trial, given a larger share, promoted. Every fifth is a rollback.
    """
    at = 0
    for number in range(count):
        callers.wait_for(_CALLS_PER_STEP)
        began = time.monotonic()
        if number % 5 == 4:
            admin.rollback(name)
            at -= 1
        else:
            at += 1
            version = versions[at % len(versions)]
            if number % 5 == 2:
                admin.start_canary(name, version, 10)
                admin.start_canary(name, version, 60)
                callers.wait_for(_CALLS_PER_STEP)
                began = time.monotonic()
                admin.promote(name)
            else:
                admin.load(name, version)
        yield time.monotonic() - began


def under_load(
    server: ServerProcess, name: str, rows: NDArray[np.float32], answers: Versions, *, count: int, callers: int
) -> dict[str, Any]:
    """Swap under load, and the same load in peace; what the callers heard, and what the server held."""
    versions = list(answers)
    with (
        AdminClient(server.admin_address) as admin,
        Callers(server.address, rows, answers, callers) as calling,
    ):
        # Once round before anything is measured: what is made for the first time is no growth.
        admin.load(name, versions[0])
        for _ in swaps(admin, name, versions, calling, 2 * len(versions)):
            pass
        admin.load(name, versions[0])
        warm = calling.take()
        before = Footprint.of(server.pid)
        began = time.monotonic()
        seconds, resident = [], []
        for number, took in enumerate(swaps(admin, name, versions, calling, count), start=1):
            seconds.append(took)
            if number % max(1, count // 10) == 0:
                resident.append(Footprint.of(server.pid).resident_bytes)
        took_seconds = time.monotonic() - began
        heard = calling.take()
        after = Footprint.of(server.pid)
        calling.wait_for(min(heard.calls, 20_000), seconds=max(60.0, 3 * took_seconds))
        peace = calling.take()
    return {
        "swaps": count,
        "callers": callers,
        "calls": heard.calls,
        "failed": dict(warm.failed + heard.failed + peace.failed),
        "wrong": warm.wrong + heard.wrong + peace.wrong,
        "by_version": dict(sorted(heard.by_version.items())),
        "swap_ms": {"median": float(np.median(seconds) * 1e3), "largest": max(seconds) * 1e3},
        "calls_per_second": heard.calls / took_seconds,
        "latency_ms": {"p50": heard.percentile_ms(50), "p99": heard.percentile_ms(99)},
        "latency_in_peace_ms": {"p50": peace.percentile_ms(50), "p99": peace.percentile_ms(99)},
        "before": asdict(before),
        "after": asdict(after),
        "resident_bytes_on_the_way": resident,
    }


def write_variants(root: Path, rows: NDArray[np.float32]) -> tuple[str, Versions]:
    """The demo model in versions with other weights; its name, and what each answers to `rows`."""
    demo = artifacts.read(demo_artifact())
    answers = {}
    for seed, version in enumerate(VERSIONS):
        model = _shaken(demo.model, seed)
        engine = Engine.from_bytes(model)
        answers[version] = engine.run(rows)
        inputs = demo.manifest.probe.inputs()
        told = tuple(tuple(map(float, row)) for row in engine.run(inputs))
        manifest = demo.manifest.model_copy(
            update={"version": version, "probe": demo.manifest.probe.model_copy(update={"expected": told})}
        )
        artifacts.write(root / manifest.name / version, manifest=manifest, model=model, passport=demo.passport)
    return demo.manifest.name, answers


def _shaken(model: bytes, seed: int) -> bytes:
    """The same graph, its matrices a few percent off."""
    rng = np.random.default_rng(seed)
    proto = onnx.load_from_string(model)
    for tensor in proto.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.ndim > 1:
            shaken = values * rng.normal(1.0, 0.05, values.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(shaken, tensor.name))
    content: bytes = proto.SerializeToString()
    return content


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=SWAPS)
    parser.add_argument("--callers", type=int, default=CALLERS)
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _, demo = engines.load(demo_artifact())
        rows = np.random.default_rng(0).exponential(2.0, size=(POOL_PLAYERS, demo.features)).astype(np.float32)
        name, answers = write_variants(Path(folder) / "models", rows)
        server = server_process.start(["--models", str(Path(folder) / "models")], Path(folder) / "server.log")
        try:
            measured = under_load(server, name, rows, answers, count=asked.swaps, callers=asked.callers)
        finally:
            code = server.stop()
    results = {"machine": f"{platform.machine()}, {psutil.cpu_count()} cores", "exit_code": code, **measured}
    asked.output.write_text(json.dumps(results, indent=1) + "\n")
    console.print_json(data=results)


if __name__ == "__main__":
    main()
