"""Fills in the passport: quality against the best teachers, stage by stage, and what a lobby costs before and after."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusion.cost import LOBBY_PLAYERS, cpu_us, energy
from fusion.distill.ensemble import by_behaviour
from fusion.evaluate import measure, not_defined, paired_bootstrap, quality
from fusion.report.calibration import calibrate
from fusion.report.layers import layer_costs
from fusion.teachers.library import links_of
from fusion.telemetry.dataset import Split
from inference.contract.artifact import sha256
from inference.contract.passport import BehaviourQuality, Calibration, Candidate, Cost, Lineage, Passport, StageQuality
from inference.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.recipe import Recipe
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.teachers.teacher import Teacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.behaviours import Behaviour
    from inference.contract.passport import PrivateBehaviour


class Jury:
    """Players nobody was trained on, and what each behaviour's best teacher reaches on them.

    The best teacher is the one that is best on these very players: the hardest comparison there is.

    Args:
        dataset: with such players.
        teachers: all of them.
        split: TEST for a verdict; VALIDATION where something is chosen by it.

    Raises:
        FusionError: no quality is defined on these players for some behaviour: no two of them are known to differ.
    """

    def __init__(self, dataset: Dataset, teachers: Sequence[Teacher], split: Split) -> None:
        self.dataset = dataset
        self.rows = dataset.rows(split)
        self.stages: list[StageQuality] = []
        self.said: dict[str, dict[str, NDArray[np.float32]]] = {}
        """Teacher → behaviour → (rows,) links."""
        self.best: dict[str, tuple[str, NDArray[np.float32], float]] = {}
        for teacher in teachers:
            links = links_of(teacher, dataset, self.rows)
            self.said[teacher.card.name] = by_behaviour(teacher, links)
            for column, behaviour in enumerate(teacher.card.behaviours):
                reached = quality(links[:, column], self._labels(behaviour.name), behaviour)
                if behaviour.name not in self.best or reached > self.best[behaviour.name][2]:
                    self.best[behaviour.name] = (teacher.card.name, links[:, column], reached)
        for name, (_, _, reached) in self.best.items():
            if not np.isfinite(reached):
                raise not_defined(name, f"the {split.name.lower()} players")

    def _labels(self, name: str) -> NDArray[np.float32]:
        column = [behaviour.name for behaviour in self.dataset.behaviours].index(name)
        return np.asarray(self.dataset.labels[self.rows, column])

    def changes(self, links: NDArray[np.float32]) -> list[float]:
        """Per behaviour, the quality of links (rows, behaviours) minus that of its best teacher."""
        return [
            self.reached(behaviour, links[:, column]) - self.best[behaviour.name][2]
            for column, behaviour in enumerate(self.dataset.behaviours)
        ]

    def reached(self, behaviour: Behaviour, links: NDArray[np.float32]) -> float:
        """Quality of links (rows,) of one behaviour."""
        return quality(links, self._labels(behaviour.name), behaviour)

    def hear(self, stage: str, links: NDArray[np.float32], parameters: int) -> StageQuality:
        """Note the quality after one stage: links (rows, behaviours)."""
        changes = self.changes(links)
        found = StageQuality(
            stage=stage, parameters=parameters, mean_change=float(np.mean(changes)), worst_change=min(changes)
        )
        self.stages.append(found)
        return found

    def verdict(self, links: NDArray[np.float32], seed: int) -> tuple[BehaviourQuality, ...]:
        """Every behaviour's quality before and after, with intervals: links (test rows, behaviours)."""
        found = []
        for column, behaviour in enumerate(self.dataset.behaviours):
            name, teacher_links, _ = self.best[behaviour.name]
            paired = paired_bootstrap(
                teacher_links,
                links[:, column],
                self._labels(behaviour.name),
                self.dataset.player[self.rows],
                behaviour,
                seed=seed,
            )
            found.append(
                BehaviourQuality(
                    behaviour=behaviour.name,
                    measure=measure(behaviour),
                    best_teacher=name,
                    teacher=paired.teacher,
                    fused=paired.fused,
                    change=paired.change,
                    test_rows=paired.rows,
                )
            )
        return tuple(found)

    def calibration(self, links: NDArray[np.float32], seed: int) -> tuple[Calibration, ...]:
        """Whether every behaviour's predictions mean what they say, before and after: links (test rows, behaviours)."""
        return tuple(
            calibrate(
                self.best[behaviour.name][1],
                links[:, column],
                self._labels(behaviour.name),
                self.dataset.player[self.rows],
                behaviour,
                seed=seed,
            )
            for column, behaviour in enumerate(self.dataset.behaviours)
        )


@dataclass(frozen=True, slots=True)
class Rival:
    """A way to serve the same behaviours, whose time is still to be measured.

    Attributes:
        name: what it is.
        mean_change: mean over behaviours of quality minus that of the behaviour's best teacher.
        worst_change: of the behaviour that lost most.
        parameters: numbers stored.
        file_bytes: of its ONNX files.
        score_lobby: scores one lobby on all behaviours, in this thread only.
    """

    name: str
    mean_change: float
    worst_change: float
    parameters: int
    file_bytes: int
    score_lobby: Callable[[], object]

    def timed(self, cpu_us_per_lobby: float) -> Candidate:
        """With its time, as the passport holds it."""
        return Candidate(
            name=self.name,
            mean_change=self.mean_change,
            worst_change=self.worst_change,
            cpu_us_per_lobby=cpu_us_per_lobby,
            parameters=self.parameters,
            file_bytes=self.file_bytes,
        )


def teachers_rival(name: str, teachers: Sequence[OnnxTeacher], dataset: Dataset, rows: NDArray[np.int64]) -> Rival:
    """Teachers served as they are; their change is none, as they are what a change is measured against.

    Args:
        name: of the rival.
        teachers: each in a session of its own, one after the other.
        dataset: that they read.
        rows: of the lobby.
    """
    single_threaded = [type(teacher)(teacher.model, teacher.card, threads=1) for teacher in teachers]
    sequences = dataset.sequences(rows) if any(teacher.card.uses_sequences for teacher in teachers) else None
    inputs = [_inputs(teacher, dataset, rows) for teacher in teachers]

    def score() -> None:
        for teacher, features in zip(single_threaded, inputs, strict=True):
            teacher.links(features, sequences if teacher.card.uses_sequences else None)

    return Rival(
        name=name,
        mean_change=0.0,
        worst_change=0.0,
        parameters=sum(teacher.card.parameters for teacher in teachers),
        file_bytes=sum(len(teacher.model) for teacher in teachers),
        score_lobby=score,
    )


@dataclass(frozen=True, slots=True)
class Findings:
    """What the pipeline found out on its way.

    Attributes:
        behaviours: quality before and after.
        stages: quality after each stage.
        calibration: of the teachers and of the fused network.
        model: the ONNX file's bytes.
        parameters: name of each part of the graph → numbers it stores.
        parity_error: largest deviation of ONNX Runtime from torch.
        decisions: what was chosen, and why.
        rivals: other ways to do the same, to be timed beside the fused network.
        private: what teachers answer for themselves, as branches of the graph.
    """

    behaviours: tuple[BehaviourQuality, ...]
    stages: tuple[StageQuality, ...]
    calibration: tuple[Calibration, ...]
    model: bytes
    parameters: Mapping[str, int]
    parity_error: float
    decisions: tuple[str, ...]
    rivals: tuple[Rival, ...] = ()
    private: tuple[PrivateBehaviour, ...] = ()


def issue(
    dataset: Dataset,
    teachers: Sequence[OnnxTeacher],
    columns: NDArray[np.int64],
    findings: Findings,
    recipe: Recipe,
) -> Passport:
    """Measure the costs and write everything down.

    Args:
        dataset: with at least one lobby of test players.
        teachers: as they were served.
        columns: of the dataset's features that the graph reads.
        findings: what the pipeline found.
        recipe: what it followed.
    """
    rows = dataset.rows(Split.TEST)[:LOBBY_PLAYERS]
    engine = Engine.from_bytes(findings.model)
    lobby = np.ascontiguousarray(dataset.features[rows][:, columns])
    served = teachers_rival("teachers", teachers, dataset, rows)
    ways = [served.score_lobby, lambda: engine.run(lobby), *(rival.score_lobby for rival in findings.rivals)]
    teachers_us, fused_us, *rivals_us = cpu_us(ways)
    return Passport(
        behaviours=findings.behaviours,
        stages=findings.stages,
        teachers_cost=Cost(parameters=served.parameters, file_bytes=served.file_bytes, cpu_us_per_lobby=teachers_us),
        fused_cost=Cost(
            parameters=sum(findings.parameters.values()),
            file_bytes=len(findings.model),
            cpu_us_per_lobby=fused_us,
        ),
        energy=energy(lambda: engine.run(lobby)),
        parity_error=findings.parity_error,
        recipe=recipe.model_dump(mode="json"),
        seed=recipe.seed,
        machine=machine(),
        decisions=findings.decisions,
        lineage=Lineage(
            data_name=dataset.name,
            data_is_synthetic=dataset.synthetic,
            data_sha256=dataset.sha256,
            data_notice=dataset.notice,
            teachers_sha256={teacher.card.name: sha256(teacher.model) for teacher in teachers},
        ),
        layers=layer_costs(findings.model, lobby, findings.parameters),
        calibration=findings.calibration,
        private=findings.private,
        baselines=tuple(rival.timed(us) for rival, us in zip(findings.rivals, rivals_us, strict=True)),
    )


def machine() -> str:
    """Architecture, processor and number of cores that measurements were made on."""
    model = platform.processor() or "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        named = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = named[0] if named else model
    return f"{model}, {platform.machine()}, {os.cpu_count()} cores"


def _inputs(teacher: OnnxTeacher, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    columns = [dataset.feature_names.index(name) for name in teacher.card.features]
    return np.ascontiguousarray(dataset.features[rows][:, columns])
