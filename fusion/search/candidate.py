"""Tries recipes: from the dense network, with short training, on some of the players; measures what came out."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fusion import export
from fusion.cost import LOBBY_PLAYERS, cpu_us, energy
from fusion.execution import choose_execution
from fusion.keep_private import keep_private
from fusion.passport import Jury
from fusion.search.budget import Measured
from fusion.steps.registry import STEPS
from fusion.steps.step import Work
from fusion.teachers.teacher import Progress, silent
from fusion.telemetry.dataset import Split
from inference.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fusion.execution import Execution
    from fusion.material import Material
    from fusion.recipe import Recipe

TRAINING_ROWS: Final = 60_000
"""That candidates are trained on, at most."""
_REPEATS: Final = 3
"""Of a timing: many candidates, told apart by more than a few percent."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What candidates are tried on.

    Attributes:
        material: players, teachers, targets.
        jury: of the players that candidates are judged on.
        dense: the network after the base recipe's first step, and the rows that candidates learn from.
        watts: joules per second of CPU time, measured (or estimated, as the passport says) while nothing else ran:
            candidates are tried side by side, and a meter cannot tell them apart.
    """

    material: Material
    jury: Jury
    dense: Work
    watts: float

    @classmethod
    def prepare(
        cls,
        material: Material,
        base: Recipe,
        told: Callable[[float, str], None],
        *,
        judged_on: Split = Split.VALIDATION,
    ) -> Bench:
        """Train the dense network once.

        Args:
            material: players, teachers, targets.
            base: recipe whose first step trains it.
            told: told how far it has come.
            judged_on: VALIDATION where something is chosen: the test players are for the verdict on what was chosen.

        Raises:
            FusionError: no quality is defined on these players for some behaviour.
        """
        jury = Jury(material.dataset, material.teachers, judged_on)
        torch.manual_seed(base.seed)
        work = material.start(base)
        every = max(1, -(-len(work.training) // TRAINING_ROWS))
        work.training = work.training.take(slice(None, None, every))
        STEPS[base.steps[0].step].run(base.steps[0], work, told)
        lobby = material.features(Split.VALIDATION, work.columns)[:LOBBY_PLAYERS]
        engine = Engine.from_bytes(export.to_onnx(work.network, work.behaviours))
        joules = energy(lambda: engine.run(lobby)).joules_per_lobby
        watts = joules / (1e-6 * cpu_us([lambda: engine.run(lobby)])[0])
        return cls(material, jury, work, watts)

    def measure(
        self, recipe: Recipe, hopeless: Callable[[str, list[float]], None], told: Progress = silent
    ) -> Measured:
        """Follow a recipe from its second step on, as it stands, and measure what came out.

        Args:
            recipe: to try.
            hopeless: told, after every step, its name and the changes of quality per behaviour; it may raise to stop.
            told: told how far each step has come; it may raise as well.
        """
        work = self._copy(recipe.seed)
        changes = self._changes(work)
        for spec in recipe.steps[1:]:
            STEPS[spec.step].run(spec, work, told)
            changes = self._changes(work)
            hopeless(spec.step, changes)
        if recipe.keep_private is not None:
            links = export.predict_links(work.network, self._rows(work))
            work.branches = keep_private(recipe.keep_private, self.jury, links, self.material.teachers).branches
            changes = self._changes(work)
        execution = choose_execution(work.network, work.behaviours, self._rows(work), work.branches, repeats=_REPEATS)
        return self._measured(work, execution, changes)

    def judge(self, work: Work, execution: Execution) -> Measured:
        """Measure a network that was trained elsewhere, in its execution form."""
        return self._measured(work, execution, self._changes(work))

    def _measured(self, work: Work, execution: Execution, changes: list[float]) -> Measured:
        lobby = self._rows(work)[:LOBBY_PLAYERS]
        engine = Engine.from_bytes(execution.model)
        cpu = cpu_us([lambda: engine.run(lobby)], repeats=_REPEATS)[0]
        return Measured(
            mean_change=float(np.mean(changes)),
            worst_change=min(changes),
            parameters=work.parameter_count,
            file_bytes=len(execution.model),
            cpu_us_per_lobby=cpu,
            joules_per_lobby=self.watts * 1e-6 * cpu,
        )

    def _copy(self, seed: int) -> Work:
        return replace(self.dense, network=deepcopy(self.dense.network), seed=seed)

    def _changes(self, work: Work) -> list[float]:
        rows = self._rows(work)
        return self.jury.changes(export.served_links(work.network, rows, work.behaviours, work.branches))

    def _rows(self, work: Work) -> NDArray[np.float32]:
        """The features of the players that are judged on."""
        columns = self.material.served_columns(work)
        return np.ascontiguousarray(self.material.dataset.features[self.jury.rows][:, columns])
