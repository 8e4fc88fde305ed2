"""The fused network beside other ways to serve the same behaviours in the same size.

    python -m benchmarks.baselines [--games NAME ...] [--teachers DIR]

Per game, with the `full` presets and seed 0: the teachers as they are, the best of them only, and one network per
behaviour within the fused network's size. Results in `benchmarks/results/baselines.json`. `--teachers` names the folder
that `benchmarks.fusion --keep` left; without it they are trained anew. Needs the real data (`PLAYFUSE_DATA`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fusion import GAMES, changes
from benchmarks.teachers import teachers_for
from fusion import recipe as recipes
from fusion.passport import machine
from fusion.pipeline import fuse
from fusion.progress import stages
from fusion.telemetry.read import read
from fusion.telemetry.sources import data_folder, find_log
from fusion.telemetry.spec import load_any_spec

RESULT = Path(__file__).resolve().parent / "results" / "baselines.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", default=GAMES, choices=GAMES)
    parser.add_argument("--teachers", type=Path, help="folder with <game>_0/teachers; without it they are trained anew")
    arguments = parser.parse_args()
    missing = [game for game in arguments.games if find_log(game) is None]
    if missing:
        parser.error(f"no data of {', '.join(missing)} in {data_folder()}: set PLAYFUSE_DATA")
    stored: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.is_file() else {"games": {}}
    for game in arguments.games:
        print(f"\n{game}")
        stored["games"][game] = measure(game, arguments.teachers)
        stored["machine"] = machine()
        RESULT.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    print(f"\nWritten to {RESULT}. Next: python -m benchmarks.render")


def measure(game: str, kept: Path | None) -> dict[str, Any]:
    """One game: the fused network, its teachers and the baselines."""
    log = find_log(game)
    assert log is not None
    dataset = read(log, load_any_spec(game))
    with stages() as told, tempfile.TemporaryDirectory() as scratch:
        own = None if kept is None else kept / f"{game}_0" / "teachers"
        teachers = teachers_for(dataset, own, Path(scratch) / "teachers", told)
        out, recipe = Path(scratch) / "artifact", recipes.preset(recipes.Preset.FULL)
        passport = fuse(dataset, teachers, recipe, out, told, with_baselines=True)
    return {
        "fused": passport.fused_cost.model_dump(mode="json") | changes(passport),
        "teachers": passport.teachers_cost.model_dump(mode="json"),
        "baselines": [one.model_dump(mode="json") for one in passport.baselines],
    }


if __name__ == "__main__":
    main()
