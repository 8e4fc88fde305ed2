"""The pipeline: teachers in, one artifact out. Every weight walks it once, in this order.

targets → the recipe's steps (distil, decompose, prune, finetune, quantize) → execution form → export → parity →
passport
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fusion import export
from fusion.distill.student import Rows
from fusion.distill.targets import Targets, make_targets
from fusion.encoding import PiecewiseLinearEncoding
from fusion.execution import choose_execution
from fusion.lowrank.start import start_from
from fusion.network import FusedNetwork, Widths
from fusion.passport import Findings, Jury, issue
from fusion.steps.registry import STEPS
from fusion.steps.step import Work
from fusion.teachers.library import whole_players
from fusion.teachers.reading import read_network
from fusion.telemetry.dataset import Split
from inference.contract import artifact as artifacts
from inference.contract.artifact import Manifest
from inference.contract.features import FEATURE_VERSION
from inference.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.recipe import Recipe
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.passport import Passport

_START_ROWS: Final = 4096
"""Training rows that teachers' neurons are compared on."""

Told = Callable[[str, float, str], None]
"""Told the stage, how far it has come (0 to 1), and a word about it."""


def fuse(dataset: Dataset, teachers: Sequence[OnnxTeacher], recipe: Recipe, out: Path, told: Told) -> Passport:
    """Fuse the teachers into one network and write its artifact.

    Args:
        dataset: that the teachers were trained on.
        teachers: together they predict every behaviour of the dataset.
        recipe: what to do, in which sizes.
        out: folder of the artifact; one that is there is replaced, whole or not at all.
        told: told how far it has come.

    Returns:
        The passport, as it is in the artifact.

    Raises:
        FusionError: a behaviour has no teacher, a step cannot be done, or ONNX Runtime does not answer as torch does.
        ArtifactError: the artifact cannot be written.
    """
    artifacts.check_target(out)
    torch.manual_seed(recipe.seed)
    dataset = _capped(dataset, recipe)
    jury = Jury(dataset, teachers)
    targets = make_targets(dataset, teachers, label_share=recipe.label_share, told=_part(told, "targets"))
    work = _start(dataset, targets, recipe)
    decisions = [_reason(targets), *_taught(recipe, work, teachers), *_follow(recipe, work, dataset, jury, told)]
    network, test = work.network, _columns(dataset, Split.TEST, work)
    told("export", 0.0, "measuring execution forms")
    execution = choose_execution(network, dataset.behaviours, test)
    parity = export.check_parity(
        export.served(network, test, dataset.behaviours), Engine.from_bytes(execution.model).run(test)
    )
    told("export", 0.5, "measuring quality and cost")
    passport = issue(
        dataset,
        teachers,
        work.columns,
        Findings(
            behaviours=jury.verdict(export.predict_links(network, test), recipe.seed),
            stages=tuple(jury.stages),
            model=execution.model,
            parameters=network.parameter_count,
            parity_error=parity,
            decisions=(*decisions, execution.reason),
        ),
        recipe,
    )
    artifacts.write(out, manifest=_manifest(dataset, work, recipe), model=execution.model, passport=passport)
    told("export", 1.0, f"{out} written")
    return passport


def _part(told: Told, stage: str) -> Callable[[float, str], None]:
    """What a stage tells of itself; its end is told by who called it."""
    return lambda done, note: told(stage, 0.99 * done, note)


def _capped(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The dataset with no more training rows than the recipe wants: all of a player's or none."""
    training = dataset.rows(Split.TRAIN)
    kept = whole_players(training, dataset.player, recipe.training_rows, recipe.seed)
    if len(kept) == len(training):
        return dataset
    return dataset.subset(np.union1d(kept, np.flatnonzero(dataset.split != Split.TRAIN)))


def _start(dataset: Dataset, targets: Targets, recipe: Recipe) -> Work:
    """The network before the first step, and the rows it learns from."""
    rows = dataset.rows(Split.TRAIN)
    encoding = PiecewiseLinearEncoding.fit(dataset.features[rows], dataset.feature_names, recipe.network.bins)
    columns = np.array([dataset.feature_names.index(name) for name in encoding.features], dtype=np.int64)
    widths = Widths(recipe.network.hidden, recipe.network.trunk, recipe.network.behaviour)

    def examples(split: Split, wanted: NDArray[np.float32]) -> Rows:
        features = dataset.features[dataset.rows(split)][:, columns]
        return Rows(torch.from_numpy(features), torch.from_numpy(wanted))

    return Work(
        network=FusedNetwork(encoding, len(dataset.behaviours), widths, recipe.seed),
        columns=columns,
        behaviours=dataset.behaviours,
        training=examples(Split.TRAIN, targets.training),
        validation=examples(Split.VALIDATION, targets.validation),
        seed=recipe.seed,
    )


def _taught(recipe: Recipe, work: Work, teachers: Sequence[OnnxTeacher]) -> list[str]:
    """Start from the teachers' neurons, where the recipe says so."""
    if recipe.network.start == "random":
        return []
    networks = [read_network(teacher) for teacher in teachers if teacher.card.family == "mlp"]
    return start_from(work.network, networks, work.calibration(_START_ROWS).features.numpy())


def _follow(recipe: Recipe, work: Work, dataset: Dataset, jury: Jury, told: Told) -> list[str]:
    """Take every step; the jury hears what each one did."""
    decisions = []
    for spec in recipe.steps:
        stage = _unused(spec.step, [heard.stage for heard in jury.stages])
        decisions += STEPS[spec.step].run(spec, work, _part(told, stage))
        test = _columns(dataset, Split.TEST, work)
        heard = jury.hear(stage, export.predict_links(work.network, test), work.network.parameter_count)
        told(stage, 1.0, f"mean {heard.mean_change:+.4f}, worst {heard.worst_change:+.4f} against the best teachers")
    return decisions


def _unused(name: str, taken: Sequence[str]) -> str:
    """The name of a stage; with a number where a step is taken again."""
    count = sum(stage.partition(" ")[0] == name for stage in taken)
    return f"{name} {count + 1}" if count else name


def _columns(dataset: Dataset, split: Split, work: Work) -> NDArray[np.float32]:
    return np.ascontiguousarray(dataset.features[dataset.rows(split)][:, work.columns])


def _reason(targets: Targets) -> str:
    said = (
        f"{behaviour} from {' + '.join(f'{weight:.2f} {name}' for name, weight in chosen.items())}"
        for behaviour, chosen in targets.weights.items()
    )
    return f"targets (weights chosen on validation players): {'; '.join(said)}"


def _manifest(dataset: Dataset, work: Work, recipe: Recipe) -> Manifest:
    labels = dataset.labels[dataset.rows(Split.TRAIN)].astype(np.float64)
    priors = np.nanmean(labels, axis=0)
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        playfuse_version=version("playfuse"),
        feature_version=FEATURE_VERSION,
        features=work.network.encoding.features,
        behaviours=dataset.behaviours,
        priors={b.name: float(prior) for b, prior in zip(dataset.behaviours, priors, strict=True)},
        synthetic=dataset.synthetic,
        probe=export.make_probe(work.network, _columns(dataset, Split.VALIDATION, work), dataset.behaviours),
        files_sha256={},
    )
