"""Measures the telemetry room: `python -m benchmarks.telemetry`, results in `benchmarks/results/telemetry.json`.

1. The simulator against Gran Turismo Sport, where the log is there: distributions, base rates, how well a plain
   LightGBM model learns each behaviour from the features.
2. The pipeline (CSV file → features and labels) on 200,000 sessions, in a process of its own pinned to one core, on a
   lean file and on one with 2 kB per row that no spec asks for.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import lightgbm
import numpy as np
from rich.table import Table
from sklearn.metrics import r2_score, roc_auc_score

from fusion.telemetry.dataset import Split, build
from fusion.telemetry.log import read_log
from fusion.telemetry.simulate import simulate
from fusion.telemetry.sources import find_log
from fusion.telemetry.spec import load_spec
from inference.console import console
from inference.contract.behaviours import HOUR_SECONDS

if TYPE_CHECKING:
    from fusion.telemetry.dataset import Dataset
    from fusion.telemetry.log import SessionLog

RESULTS: Final = Path(__file__).parent / "results" / "telemetry.json"
REAL: Final = "gran_turismo_sport"
PIPELINE_SESSIONS: Final = 200_000
SIMULATED_PLAYERS: Final = 14_200
TRAINING_ROWS: Final = 120_000
TREES: Final = 150
QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SPEC: Final = """\
name: pipeline
synthetic: true
columns: {player: player, start: start, end: end, coop: coop}
"""


def statistics(dataset: Dataset) -> dict[str, Any]:
    sessions = dataset.histories.sessions
    same = dataset.player[1:] == dataset.player[:-1]
    gaps = (sessions.start_seconds[1:] - sessions.end_seconds[:-1])[same] / HOUR_SECONDS
    per_player = np.bincount(dataset.player)
    hours = np.bincount((sessions.start_seconds // HOUR_SECONDS) % 24, minlength=24) / len(sessions)
    weekdays = np.bincount((sessions.start_seconds // (24 * HOUR_SECONDS) + 3) % 7, minlength=7) / len(sessions)
    return {
        "players": int((per_player > 0).sum()),
        "sessions": len(sessions),
        "session_minutes": _quantiles(sessions.duration_seconds / 60),
        "gap_hours": _quantiles(gaps),
        "sessions_per_player": _quantiles(per_player[per_player > 0]),
        "share_by_hour_utc": [round(float(share), 4) for share in hours],
        "share_by_weekday": [round(float(share), 4) for share in weekdays],
        "mean_label": {
            behaviour.name: round(float(np.nanmean(dataset.labels[:, column])), 4)
            for column, behaviour in enumerate(dataset.behaviours)
        },
    }


def learnable(dataset: Dataset) -> dict[str, float]:
    """Behaviour → AUC or R² (log1p) on the test players, rows with at least one earlier session."""
    parameters = {
        "learning_rate": 0.06, "num_leaves": 31, "min_child_samples": 100, "feature_fraction": 0.8,
        "bagging_fraction": 0.8, "bagging_freq": 1, "lambda_l2": 1.0, "num_threads": 1, "seed": 0, "verbosity": -1,
    }  # fmt: skip
    earlier = dataset.histories.end - dataset.histories.begin > 1
    scores = {}
    for column, behaviour in enumerate(dataset.behaviours):
        labels = dataset.labels[:, column].astype(np.float64)
        labels = labels if behaviour.is_binary else np.log1p(labels)
        usable = earlier & ~np.isnan(labels)
        test = np.flatnonzero(usable & (dataset.split == Split.TEST))
        train = np.flatnonzero(usable & (dataset.split != Split.TEST))
        if len(train) > TRAINING_ROWS:
            train = np.random.default_rng(0).choice(train, TRAINING_ROWS, replace=False)
        objective = {"objective": "binary" if behaviour.is_binary else "regression"}
        data = lightgbm.Dataset(dataset.features[train], labels[train])
        predicted = lightgbm.train(parameters | objective, data, TREES).predict(dataset.features[test])
        measure = roc_auc_score if behaviour.is_binary else r2_score
        scores[behaviour.name] = round(float(measure(labels[test], predicted)), 4)
    return scores


def pipeline(log: SessionLog, folder: Path, *, padding_bytes: int) -> dict[str, Any]:
    """Time and memory from a CSV file to features and labels, in a process pinned to one core."""
    path = folder / f"sessions-{padding_bytes}.csv"
    spec = folder / "spec.yaml"
    spec.write_text(SPEC)
    _write_csv(log, path, padding_bytes)
    core = str(min(os.sched_getaffinity(0)))
    started = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.telemetry", "child", str(path), str(spec), core],
        check=True, capture_output=True, text=True, env=os.environ | {"POLARS_MAX_THREADS": "1"},
    )  # fmt: skip
    return {
        "file_bytes": path.stat().st_size,
        "wall_seconds_with_start": round(time.perf_counter() - started, 2),
        **json.loads(child.stdout),
    }


def child(path: str, spec: str, core: str) -> None:
    os.sched_setaffinity(0, {int(core)})
    started = time.perf_counter(), time.process_time()
    dataset = build(read_log(Path(path), load_spec(spec)))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    measured = {
        "sessions": len(dataset),
        "wall_seconds": round(time.perf_counter() - started[0], 2),
        "cpu_seconds": round(time.process_time() - started[1], 2),
        "peak_resident_bytes": usage.ru_maxrss * 1024,
    }
    sys.stdout.write(json.dumps(measured))


def _write_csv(log: SessionLog, path: Path, padding_bytes: int) -> None:
    padding = ["x" * padding_bytes] if padding_bytes else []
    sessions = log.sessions
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["player", "start", "end", "coop", *(["payload"] if padding else [])])
        columns = (log.player, sessions.start_seconds, sessions.end_seconds, sessions.coop)
        for player, start, end, coop in zip(*(column[:PIPELINE_SESSIONS].tolist() for column in columns), strict=True):
            writer.writerow([log.player_ids[player], _iso(start), _iso(end), coop, *padding])


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _quantiles(values: np.ndarray[Any, np.dtype[Any]]) -> dict[str, float]:
    return {
        f"p{100 * q:.0f}": round(float(value), 2)
        for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)
    }


def _show(results: dict[str, Any]) -> None:
    sides = results["statistics"]
    table = Table("statistic", *sides, title="Simulated against real")
    for key in ("session_minutes", "gap_hours", "sessions_per_player", "mean_label", "learnable"):
        for name in sides["simulated"][key]:
            table.add_row(f"{key} {name}", *(str(side[key].get(name, "-")) for side in sides.values()))
    console.print(table)
    console.print(results["pipeline"])


def main() -> None:
    log = simulate(SIMULATED_PLAYERS, seed=1)
    datasets = {"simulated": build(log)}
    if (path := find_log(REAL)) is not None:
        datasets[REAL] = build(read_log(path, load_spec(REAL)))
    results: dict[str, Any] = {
        "statistics": {
            name: statistics(dataset) | {"learnable": learnable(dataset)} for name, dataset in datasets.items()
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        results["pipeline"] = {
            name: pipeline(log, Path(folder), padding_bytes=padding)
            for name, padding in (("lean_file", 0), ("wide_file", 2_048))
        }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    _show(results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:])
    else:
        main()
