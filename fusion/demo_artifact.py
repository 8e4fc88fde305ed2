"""Builds the demo artifact that ships inside the package: `python -m fusion.demo_artifact`, or `make demo-artifact`.

Trained on simulated players only, so that it may go anywhere; small, so that it goes with every install: without its
report, which `playfuse report` makes from it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fusion import recipe as recipes
from fusion.pipeline import fuse
from fusion.progress import stages
from fusion.saved import beside
from fusion.teachers import specs
from fusion.teachers.library import train
from fusion.telemetry.dataset import build
from fusion.telemetry.simulate import simulate
from inference.console import console
from inference.inspection import passport_tables

if TYPE_CHECKING:
    from fusion.telemetry.dataset import Dataset

FOLDER: Final = Path(__file__).resolve().parent.parent / "inference" / "demo"
PLAYERS: Final = 4_000
SEED: Final = 11


def dataset() -> Dataset:
    """The simulated players it is trained and judged on."""
    return build(simulate(PLAYERS, seed=SEED))


def recipe() -> recipes.Recipe:
    """The demo preset under the demo's name."""
    return recipes.preset(recipes.Preset.DEMO).model_copy(update={"name": "demo", "seed": SEED})


def teachers(players: Dataset) -> tuple[specs.TeacherSpec, ...]:
    """The demo preset's."""
    return specs.preset(specs.Preset.DEMO, players.behaviours).teachers


def main() -> None:
    """Simulate, train, fuse, and replace the artifact in the package."""
    players = dataset()
    with tempfile.TemporaryDirectory() as scratch, stages() as told:
        trained = train(players, teachers(players), Path(scratch) / "teachers", seed=SEED, progress=told)
        passport = fuse(players, trained, recipe(), FOLDER, told, with_report=False)
    beside(FOLDER).unlink()  # nobody updates the demo: its network stays out of the package
    for table in passport_tables(passport):
        console.print(table)


if __name__ == "__main__":
    main()
