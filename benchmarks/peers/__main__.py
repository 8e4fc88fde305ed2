"""Measures the users' job beside other servers: `python -m benchmarks.peers`, results in `results/peers.json`.

The job: all eight behaviours of a lobby of 64 players, or of one player. playfuse does it with the network fused from
eight teachers, in one call; the others serve the eight teachers, in eight calls at once. docs/results.md says what was
done to be fair to them. A server that fails is left out; then the results are not stored and the exit code is 1.

    python -m benchmarks.peers [--servers mosec triton] [--cache runs/peers] [--repeats 3]

The first run makes the models (a minute) and an environment per server (2 GB of packages from PyPI); both stay in the
cache. Needs h2load (Debian: nghttp2-client) and two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from benchmarks.peers import work
from benchmarks.peers.measure import Case, Turn, await_ready, running, turn
from benchmarks.peers.servers.kserve import KServe
from benchmarks.peers.servers.litserve import LitServe
from benchmarks.peers.servers.mlserver import MLServer
from benchmarks.peers.servers.mosec import Mosec
from benchmarks.peers.servers.playfuse import Playfuse
from benchmarks.peers.servers.triton import Triton
from fusion.passport import machine
from inference.console import console
from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.peers.servers.adapter import Adapter
    from benchmarks.peers.work import Job, Models

RESULTS: Final = Path(__file__).resolve().parents[1] / "results" / "peers.json"
CACHE: Final = Path("runs/peers")
OURS: Final[Adapter] = Playfuse()
_PEERS: Final[tuple[Adapter, ...]] = (Triton(), Mosec(), MLServer(), KServe(), LitServe())
PEERS: Final = {adapter.name: adapter for adapter in _PEERS}
CASES: Final = {"lobbies of 64 players": Case(64, 16), "single players": Case(1, 64)}
"""Name → the kind of job."""
TRIAL_SECONDS: Final = 1
FAILURES: Final = (PlayfuseError, subprocess.SubprocessError, psutil.Error, OSError)
"""What ends the measuring of one peer, not that of the others."""


class Bench:
    """Takes turns with the servers and remembers what they did, and which of them failed."""

    def __init__(self, models: Models, jobs: Mapping[str, Job], cache: Path) -> None:
        self._adapters: list[Adapter] = []
        self._models = models
        self._cache = cache
        self._jobs = jobs
        self.failed: dict[str, str] = {}
        """Name of a peer → why it has no figures."""
        self.tried: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        self.turns: defaultdict[tuple[str, str], list[Turn]] = defaultdict(list)

    @property
    def adapters(self) -> tuple[Adapter, ...]:
        """Those that have not failed."""
        return tuple(self._adapters)

    def prepare(self, adapters: Sequence[Adapter]) -> None:
        """Make what they need."""
        for adapter in adapters:
            console.print(f"preparing {adapter.name}")
            self._adapters.append(adapter)
            with self._failing_alone(adapter):
                adapter.prepare(self._cache)

    def try_settings(self) -> None:
        """Find each server's better setting for each kind of job."""
        for adapter in self.adapters:
            with self._failing_alone(adapter):
                for label in adapter.settings:
                    for case, done in self._serve(adapter, label, list(CASES), TRIAL_SECONDS).items():
                        self.tried[adapter.name, case][label] = done.jobs_per_second

    def repeat(self, number: int, seconds: int) -> None:
        """A turn of each server at each kind of job, in its better setting; every other time the last one first."""
        for adapter in self._adapters[:: -1 if number % 2 else 1]:
            with self._failing_alone(adapter):
                for label in adapter.settings:
                    cases = [case for case in CASES if self.better(adapter.name, case) == label]
                    for case, done in self._serve(adapter, label, cases, seconds).items():
                        self.turns[adapter.name, case].append(done)

    def better(self, server: str, case: str) -> str:
        """The setting in which the server did more jobs."""
        tried = self.tried[server, case]
        return max(tried, key=lambda label: tried[label])

    @contextlib.contextmanager
    def _failing_alone(self, adapter: Adapter) -> Iterator[None]:
        """A peer that fails is left out from then on; without playfuse there is nothing to compare."""
        try:
            yield
        except FAILURES as error:
            if adapter is OURS:
                raise
            self.failed[adapter.name] = str(error)
            self._adapters.remove(adapter)
            console.print(
                f"{adapter.name} failed and is left out: {error}", markup=False, highlight=False, soft_wrap=True
            )

    def _serve(self, adapter: Adapter, label: str, cases: Sequence[str], seconds: int) -> dict[str, Turn]:
        done: dict[str, Turn] = {}
        if not cases:
            return done
        with running(adapter, adapter.settings[label], self._models, self._cache) as server:
            await_ready(adapter, server, self._jobs[cases[0]])
            for case in cases:
                done[case] = turn(adapter, server, self._jobs[case], CASES[case], seconds=seconds)
                console.print(
                    f"{adapter.name}, {label}, {case}: {done[case].jobs_per_second:,.0f} jobs/s, "
                    f"{done[case].cpu_us_per_job:,.0f} µs, client {done[case].client_busy:.0%} busy",
                    highlight=False,
                    soft_wrap=True,
                )
        return done

    def results(self) -> dict[str, Any]:
        """Medians of the turns, and how many times as much playfuse did in the turn of the same number."""
        return {
            case: {
                "players": kind.players,
                "jobs_under_way": kind.under_way,
                "servers": {adapter.name: self._result(adapter, case) for adapter in self._adapters},
            }
            for case, kind in CASES.items()
        }

    def _result(self, adapter: Adapter, case: str) -> dict[str, Any]:
        own, ours = self.turns[adapter.name, case], self.turns[OURS.name, case]
        medians = {figure: statistics.median(asdict(one)[figure] for one in own) for figure in asdict(own[0])}
        ratios = {
            figure: statistics.median(
                asdict(first)[figure] / asdict(second)[figure] for first, second in zip(ours, own, strict=True)
            )
            for figure in ("jobs_per_second", "cpu_us_per_job")
        }
        return {
            "title": adapter.title,
            "setting": self.better(adapter.name, case),
            "tried_jobs_per_second": self.tried[adapter.name, case],
            **medians,
            "playfuse_jobs_ratio": ratios["jobs_per_second"],
            "playfuse_cpu_ratio": 1 / ratios["cpu_us_per_job"],
            "turns": [asdict(one) for one in own],
        }


def _absolute(path: str) -> Path:
    """The servers run in folders of their own."""
    return Path(path).resolve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", choices=PEERS, help="beside playfuse; default: all")
    parser.add_argument(
        "--cache", type=_absolute, default=CACHE.resolve(), help=f"for models and environments; default: {CACHE}"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of load in each turn")
    parser.add_argument(
        "--out", type=Path, help="default: the stored results, or nowhere where a server is left out or failed"
    )
    arguments = parser.parse_args()
    # Ended from outside, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    models = work.models(arguments.cache / "models")
    jobs = {name: work.job(models, case.players) for name, case in CASES.items()}
    bench = Bench(models, jobs, arguments.cache)
    bench.prepare([OURS, *(PEERS[name] for name in arguments.servers or PEERS)])
    bench.try_settings()
    for number in range(arguments.repeats):
        bench.repeat(number, arguments.seconds)
    results = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "repeats": arguments.repeats,
        "teachers_bytes": models.sizes_bytes(),
        "failed": bench.failed,
        "cases": bench.results(),
    }
    # What is stored is whole: nobody is missing from it because of one bad run.
    out = arguments.out or (RESULTS if arguments.servers is None and not bench.failed else None)
    if out is not None:
        out.write_text(json.dumps(results, indent=1) + "\n")
        console.print(f"wrote {out}")
    if bench.failed:
        sys.exit(f"failed: {', '.join(bench.failed)}")


if __name__ == "__main__":
    main()
