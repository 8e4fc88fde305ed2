"""Measures fusion on three games' logs and two tables of players.

    python -m benchmarks.fusion [--preset full] [--games NAME ...] [--seeds 0 1 2] [--teachers DIR]

For every game: log or table → dataset → teachers → fused artifact, all with the presets a user gets; quality on test
players with intervals, parameters, bytes, CPU per lobby, and how long it took. All of it again from other seeds: a seed
draws the test players, the teachers' training and the fusion's. `--teachers` names the folder that `--keep` left: its
teachers are used again, and only the fusion is done anew. Needs the real data (`PLAYFUSE_DATA`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.one_session import one_graph, scorer
from benchmarks.teachers import teachers_for
from fusion import recipe as recipes
from fusion.cost import LOBBY_PLAYERS, cpu_us
from fusion.passport import machine
from fusion.pipeline import fuse
from fusion.progress import stages
from fusion.teachers.library import qualities
from fusion.telemetry.dataset import Split
from fusion.telemetry.read import read
from fusion.telemetry.sources import data_folder, find_log
from fusion.telemetry.spec import load_any_spec
from inference.engine import load as load_artifact

if TYPE_CHECKING:
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.passport import Passport

RESULT = Path(__file__).resolve().parent / "results" / "fusion.json"
GAMES = ("gran_turismo_sport", "outriders", "forza_horizon_4", "skillcraft1", "wowah")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="full", choices=[*recipes.Preset])
    parser.add_argument("--games", nargs="+", default=GAMES, choices=GAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--keep", type=Path, help="folder to keep datasets, teachers and artifacts in")
    parser.add_argument("--teachers", type=Path, help="folder with <game>_<seed>/teachers; else they are trained")
    arguments = parser.parse_args()
    missing = [game for game in arguments.games if find_log(game) is None]
    if missing:
        parser.error(f"no data of {', '.join(missing)} in {data_folder()}: set PLAYFUSE_DATA")
    stored: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {"games": {}}
    with tempfile.TemporaryDirectory() as scratch:
        for game in arguments.games:
            measured: dict[str, Any] = {}
            for seed in arguments.seeds:
                folder = (arguments.keep or Path(scratch)) / f"{game}_{seed}"
                run = measure(game, arguments.preset, seed, folder, arguments.teachers)
                measured = measured or run | {"seeds": {}}
                measured["seeds"][str(seed)] = {
                    "changes": {row["behaviour"]: row["change"]["value"] for row in run["behaviours"]},
                    **{key: run[key] for key in ("mean_change", "worst_change", "seconds", "rows", "stages")},
                }
                stored["games"][game] = measured
                stored["machine"] = machine()
                RESULT.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    print(f"\nWritten to {RESULT.relative_to(Path.cwd()) if RESULT.is_relative_to(Path.cwd()) else RESULT}.")
    print("Next: python -m benchmarks.render")


def measure(game: str, preset: str, seed: int, folder: Path, kept: Path | None) -> dict[str, Any]:
    """One game from its log, or table, to its artifact."""
    log = find_log(game)
    assert log is not None
    print(f"\n{game}, seed {seed}")
    started = time.perf_counter()
    dataset = read(log, load_any_spec(game), split=seed)
    prepared = time.perf_counter()
    recipe = recipes.preset(recipes.Preset(preset)).model_copy(update={"seed": seed})
    with stages() as told:
        own = None if kept is None else kept / f"{game}_{seed}" / "teachers"
        teachers = teachers_for(dataset, own, folder / "teachers", told, preset=preset, seed=seed)
        trained = time.perf_counter()
        passport = fuse(dataset, teachers, recipe, folder / "artifact", told)
        fused = time.perf_counter()
    test = dataset.rows(Split.TEST)
    return changes(passport) | {
        "preset": preset,
        "rows": {split.name.lower(): len(dataset.rows(split)) for split in Split},
        "behaviours": [row.model_dump(mode="json") for row in passport.behaviours],
        "teacher_quality": {teacher.card.name: qualities(teacher, dataset, test) for teacher in teachers},
        "teachers": passport.teachers_cost.model_dump(mode="json") | {"count": len(teachers)},
        "one_session": _one_session(dataset, teachers, folder / "artifact"),
        "fused": passport.fused_cost.model_dump(mode="json"),
        "energy": passport.energy.model_dump(mode="json"),
        "stages": [stage.model_dump(mode="json") for stage in passport.stages],
        "decisions": list(passport.decisions),
        "parity_error": passport.parity_error,
        "seconds": None if kept is not None else fused - started,
        "seconds_by_step": {"data": prepared - started, "teachers": trained - prepared, "fuse": fused - trained},
    }


def changes(passport: Passport) -> dict[str, float]:
    """Mean and worst over the behaviours."""
    found = [row.change.value for row in passport.behaviours]
    return {"mean_change": float(np.mean(found)), "worst_change": min(found)}


def _one_session(dataset: Dataset, teachers: list[OnnxTeacher], artifact: Path) -> dict[str, float]:
    """CPU of all teachers in one graph beside the fused one, taking turns."""
    rows = dataset.rows(Split.TEST)[:LOBBY_PLAYERS]
    model = one_graph(teachers, dataset.feature_names)
    sequences = None if dataset.recorded is None else dataset.sequences(rows)
    every = scorer(model, np.ascontiguousarray(dataset.features[rows]), sequences)
    served, engine = load_artifact(artifact)
    columns = [dataset.feature_names.index(name) for name in served.manifest.features]
    lobby = np.ascontiguousarray(dataset.features[rows][:, columns])
    together, fused = cpu_us([every, lambda: engine.run(lobby)])
    return {"cpu_us_per_lobby": together, "fused_cpu_us_per_lobby": fused}


if __name__ == "__main__":
    main()
