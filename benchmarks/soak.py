"""Mixed load for a long time: `python -m benchmarks.soak [native] [grpcio]`, results in `benchmarks/results/soak.json`.

Callers in threads send lobbies and single players of all three priorities, some with session histories, some faulty,
some with deadlines that cannot be met, and look at what they get. Meanwhile the server's memory, threads and file
descriptors are sampled. The verdict compares the last third of the samples with the second: the first is warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

# Before gRPC is imported: callers in a hurry are disconnected time and again, as is meant, and it logs each time.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import numpy as np
import psutil

from fusion.progress import stages
from inference import engine as engines
from inference.cli import demo_artifact
from inference.client import CallFailed, Client, History
from inference.console import console
from inference.contract.errors import PlayfuseError
from inference.core import Priority
from playfuse import server_process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.engine import Engine
    from playfuse.server_process import ServerProcess

RESULTS: Final = Path(__file__).parent / "results" / "soak.json"
TRANSPORTS: Final = ("native", "grpcio")
CALLERS: Final = 12
SAMPLES: Final = 240
MAX_GROWTH_MIB: Final = 4.0
_EXPECTED: Final = {"OK", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "IMPATIENT"}
_HURRY_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server's process held at one moment."""

    resident_mib: float
    threads: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What changed from the second third of the samples to the last, and whether that is nothing."""

    resident_growth_mib: float
    thread_growth: float
    descriptor_growth: float
    unexpected: int
    wrong: int
    steady: bool


def verdict(samples: Sequence[Sample], ended: Counter[str]) -> Verdict:
    """Judge the samples and how the calls ended.

    Args:
        samples: in order, three at least.
        ended: calls by gRPC status; `wrong` counts those answered with other values than their own.
    """
    third = len(samples) // 3

    def growth(field: str) -> float:
        middle, last = (
            statistics.median(getattr(sample, field) for sample in part)
            for part in (samples[third : 2 * third], samples[2 * third :])
        )
        return float(last - middle)

    grown = growth("resident_mib"), growth("threads"), growth("descriptors")
    unexpected = sum(count for status, count in ended.items() if status not in _EXPECTED | {"wrong"})
    steady = grown[0] <= MAX_GROWTH_MIB and max(grown[1:]) <= 0 and not unexpected and not ended["wrong"]
    return Verdict(*grown, unexpected=unexpected, wrong=ended["wrong"], steady=steady)


def _call(client: Client, engine: Engine, rng: np.random.Generator) -> str:
    rows = rng.exponential(3.0, (int(rng.choice([1, 1, 2, 16, 64])), engine.features)).astype(np.float32)
    kind = rng.random()
    try:
        if kind < 0.02:
            client.predict(rows=np.full_like(rows, np.nan))
            return "wrong"
        if kind < 0.05:
            client.predict(histories=[History([1_750_000_000], [int(rng.integers(60, 7_200))])])
            return "OK"
        answer = client.predict(rows=rows, priority=Priority(int(rng.integers(3))), request_id=f"{kind:.6f}")
    except CallFailed as error:
        return error.code.name
    same = np.allclose(answer.values, engine.run(rows), rtol=1e-4, atol=1e-5)
    return "OK" if same and answer.request_id == f"{kind:.6f}" else "wrong"


def _caller(address: str, engine: Engine, stop: threading.Event, ended: Counter[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mine: Counter[str] = Counter()
    while not stop.is_set():
        # A new client now and then, and one in a hurry: what they leave behind would show. All of a process share one
        # connection, and who takes back call after call is disconnected by the native front (HTTP/2 rapid reset): the
        # others, as any caller, try what was not taken once more.
        impatient = rng.random() < 0.1
        timeout_seconds, attempts = (_HURRY_SECONDS, 1) if impatient else (5.0, 4)
        with Client(address, timeout_seconds=timeout_seconds, max_attempts=attempts) as client:
            for _ in range(200):
                status = _call(client, engine, rng)
                mine["IMPATIENT" if impatient and status == "UNAVAILABLE" else status] += 1
                if stop.is_set():
                    break
    ended.update(mine)


def soak(
    artifact: Path, transport: str, seconds: float, told: Callable[[float, str], None] = lambda done, note: None
) -> dict[str, Any]:
    """Load one server for so long.

    Raises:
        PlayfuseError: the server has ended.
    """
    _, engine = engines.load(artifact)
    ended: Counter[str] = Counter()
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        server = server_process.start([str(artifact), "--transport", transport], Path(folder) / "server.log")
        callers = [
            threading.Thread(target=_caller, args=(server.address, engine, stop, ended, seed))
            for seed in range(CALLERS)
        ]
        try:
            for caller in callers:
                caller.start()
            samples = []
            for number in range(SAMPLES):
                time.sleep(seconds / SAMPLES)
                samples.append(_sample(server))
                told((number + 1) / SAMPLES, f"{samples[-1].resident_mib:.1f} MiB")
        finally:
            stop.set()
            for caller in callers:
                caller.join()
            code = server.stop()
    judged = verdict(samples, ended)
    return {
        "minutes": seconds / 60,
        "calls": dict(ended),
        "exit_code": code,
        "first": asdict(samples[0]),
        "middle": asdict(samples[len(samples) // 2]),
        "last": asdict(samples[-1]),
        "verdict": asdict(judged),
    }


def _sample(server: ServerProcess) -> Sample:
    process = psutil.Process(server.pid)
    try:
        with process.oneshot():
            return Sample(process.memory_info().rss / 2**20, process.num_threads(), process.num_fds())
    except psutil.Error as error:
        said = server.log.read_text()[-2_000:]
        raise PlayfuseError("the server", got=f"its end; it said:\n{said}", expected="a server that holds") from error


def main() -> None:
    parser = argparse.ArgumentParser(description="Load a server for long and look for what grows.")
    parser.add_argument("transports", nargs="*", default=list(TRANSPORTS), metavar="TRANSPORT", help="default: both")
    parser.add_argument("--artifact", type=Path, default=demo_artifact(), help="default: the demo model")
    parser.add_argument("--minutes", type=float, default=20.0, help="for each transport")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if unknown := set(arguments.transports) - set(TRANSPORTS):
        parser.error(f"no such transport: {', '.join(sorted(unknown))}; there are {', '.join(TRANSPORTS)}")
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    with stages() as told:
        for transport in arguments.transports:
            results[transport] = soak(
                arguments.artifact, transport, 60 * arguments.minutes, partial(told, f"soak, {transport}")
            )
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    done = [results[transport] for transport in arguments.transports]
    console.print({transport: results[transport]["verdict"] for transport in arguments.transports})
    if not all(result["verdict"]["steady"] and result["exit_code"] == 0 for result in done):
        sys.exit(1)


if __name__ == "__main__":
    main()
