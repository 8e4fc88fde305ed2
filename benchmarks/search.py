"""A whole search within a budget: `python -m benchmarks.search [--budgets server …] [--teachers DIR]`.

Training the teachers comes before it and is not counted. Results in `benchmarks/results/search.json`. Needs the real
logs (`PLAYFUSE_DATA`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.fusion import GAMES, changes
from benchmarks.logs import read_game
from benchmarks.teachers import teachers_for
from fusion.passport import machine
from fusion.progress import stages
from fusion.recipe import Preset, preset
from fusion.search.budget import load_budget
from fusion.search.strategy import fuse_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.pipeline import Told
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset

RESULT: Final = Path(__file__).resolve().parent / "results" / "search.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="gran_turismo_sport", choices=GAMES)
    parser.add_argument("--budgets", nargs="+", default=["server"], help="names of profiles, or YAML files")
    parser.add_argument("--teachers", type=Path, help="folder of trained teachers; without it they are trained anew")
    arguments = parser.parse_args()
    dataset = read_game(arguments.game, parser)
    with stages() as told, tempfile.TemporaryDirectory() as scratch:
        teachers = teachers_for(dataset, arguments.teachers, Path(scratch), told)
        results: dict[str, Any] = {"game": arguments.game, "machine": machine(), "budgets": {}}
        for name in arguments.budgets:
            results["budgets"][name] = measure(name, dataset, teachers, partial(_titled, told, name))
            RESULT.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nWritten to {RESULT}. Next: python -m benchmarks.render")


def _titled(told: Told, budget: str, stage: str, done: float, note: str) -> None:
    told(f"{budget}: {stage}", done, note)


def measure(name: str, dataset: Dataset, teachers: Sequence[OnnxTeacher], told: Told) -> dict[str, Any]:
    """One search from nothing: how long it took, what it tried, what it chose, on the test players.

    Raises:
        FusionError: no recipe holds the budget.
    """
    budget = load_budget(name)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        out, study = Path(scratch) / "artifact", Path(scratch) / "study.sqlite"
        passport, _ = fuse_within(budget, dataset, teachers, preset(Preset.FULL), out, study, told)
    assert passport.search is not None
    return {
        "seconds": time.perf_counter() - started,
        "budget": budget.model_dump(mode="json", exclude_none=True),
        "tried": passport.search.trials,
        "front": len(passport.search.front),
        "chosen": passport.search.chosen,
        **changes(passport),
        "teachers": passport.teachers_cost.model_dump(mode="json"),
        "fused": passport.fused_cost.model_dump(mode="json"),
    }


if __name__ == "__main__":
    main()
