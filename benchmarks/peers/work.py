"""The users' job: eight behaviours of a lobby of 64 players, or of one; and the models that do it, made once.

The behaviours' teachers are trained on simulated players with the sizes of the `demo` preset, boosted trees and an MLP
for each behaviour; the better one on validation players is what a studio would serve. playfuse serves the network that
was fused from these very eight.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion import recipe as recipes
from fusion.pipeline import fuse
from fusion.progress import stages
from fusion.teachers import folder as teacher_folder
from fusion.teachers import specs
from fusion.teachers.library import best, train, write
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from inference.engine import load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SEED: Final = 0
SIMULATED_PLAYERS: Final = 4_000


@dataclass(frozen=True, slots=True)
class Models:
    """Where they are.

    Attributes:
        folder: of everything.
    """

    folder: Path

    @property
    def dataset(self) -> Path:
        """Folder of the players."""
        return self.folder / "dataset"

    @property
    def chosen(self) -> Path:
        """Folder of the eight teachers, as `playfuse train` writes them."""
        return self.folder / "chosen"

    @property
    def teachers(self) -> Path:
        """Folder of the same models as `<behaviour>.onnx`, for the peers."""
        return self.folder / "teachers"

    @property
    def artifact(self) -> Path:
        """Folder of the network fused from them."""
        return self.folder / "artifact"

    def sizes_bytes(self) -> dict[str, int]:
        """Behaviour → size of its teacher."""
        return {path.stem: path.stat().st_size for path in sorted(self.teachers.glob("*.onnx"))}


@dataclass(frozen=True, slots=True)
class Job:
    """One job, and what has to come back.

    Attributes:
        teacher_rows: (players, features) float32 as the teachers read them.
        links: behaviour → (players,) float32 that its teacher says in ONNX Runtime.
        fused_rows: (players, features) float32 as the fused network reads them.
        predictions: (players, behaviours) float32 that it says in ONNX Runtime.
    """

    teacher_rows: NDArray[np.float32]
    links: Mapping[str, NDArray[np.float32]]
    fused_rows: NDArray[np.float32]
    predictions: NDArray[np.float32]


def models(folder: Path) -> Models:
    """The models in `folder`; made where they are not there yet, in about a minute."""
    made = Models(folder)
    if (made.artifact / "manifest.json").is_file():
        return made
    shutil.rmtree(folder, ignore_errors=True)
    # The eight behaviours that every log has: a log that does not know which sessions were co-operative.
    log = simulate(SIMULATED_PLAYERS, seed=SEED)
    alone = dataclasses.replace(log.sessions, coop=np.full(len(log.sessions), -1, np.int8))
    dataset = build(dataclasses.replace(log, sessions=alone, knows_coop=False))
    dataset.save(made.dataset)
    singles = [spec for spec in specs.preset(specs.Preset.DEMO, dataset.behaviours).teachers if spec.behaviours]
    with stages() as told:
        trained = {one.card.name: one for one in train(dataset, singles, folder / "trained", seed=SEED, progress=told)}
        made.teachers.mkdir()
        for behaviour, teacher in best(list(trained.values())).items():
            write(trained[teacher.card.name], made.chosen)
            (made.teachers / f"{behaviour}.onnx").write_bytes(trained[teacher.card.name].model)
        chosen = teacher_folder.load(made.chosen)
        fuse(dataset, chosen, recipes.preset(recipes.Preset.DEMO), made.artifact, told, with_report=False)
    return made


def job(made: Models, players: int) -> Job:
    """So many test players, drawn with a fixed seed."""
    dataset = Dataset.load(made.dataset)
    rows = np.random.default_rng(SEED).choice(dataset.rows(Split.TEST), players, replace=False)
    served, engine = load(made.artifact)
    teachers = teacher_folder.load(made.chosen)
    (read,) = {teacher.card.features for teacher in teachers}
    teacher_rows, fused_rows = (
        np.ascontiguousarray(dataset.features[rows][:, [dataset.feature_names.index(name) for name in names]])
        for names in (read, served.manifest.features)
    )
    return Job(
        teacher_rows=teacher_rows,
        links={teacher.card.behaviour_names[0]: teacher.links(teacher_rows)[:, 0] for teacher in teachers},
        fused_rows=fused_rows,
        predictions=engine.run(fused_rows),
    )
