"""The pipeline: teachers in, one artifact out. Every weight walks it once, in this order.

targets → the recipe's steps (distil, decompose, prune, finetune, quantize) → what is kept private, on demand →
baselines, on demand → execution form → export → parity → passport → report
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion import baselines, export
from fusion.branch import served_features
from fusion.distill.ensemble import average
from fusion.errors import FusionError
from fusion.execution import choose_execution
from fusion.keep_private import Kept, keep_private
from fusion.material import Material
from fusion.passport import Findings, Jury, issue
from fusion.report import page
from fusion.saved import SavedNetwork, beside
from fusion.steps.registry import STEPS
from fusion.telemetry.dataset import Split
from inference.contract import artifact as artifacts
from inference.contract.artifact import Manifest
from inference.contract.features import FEATURE_VERSION
from inference.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.distill.targets import Targets
    from fusion.execution import Execution
    from fusion.passport import Rival
    from fusion.recipe import Recipe
    from fusion.steps.step import Work
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.passport import Passport, Search

Told = Callable[[str, float, str], None]
"""Told the stage, how far it has come (0 to 1), and a word about it."""


def fuse(
    dataset: Dataset,
    teachers: Sequence[OnnxTeacher],
    recipe: Recipe,
    out: Path,
    told: Told,
    *,
    with_report: bool = True,
    with_baselines: bool = False,
) -> Passport:
    """Fuse the teachers into one network and write its artifact.

    Args:
        dataset: that the teachers were trained on.
        teachers: together they predict every behaviour of the dataset.
        recipe: what to do, in which sizes.
        out: folder of the artifact; one that is there is replaced, whole or not at all.
        told: told how far it has come.
        with_report: also write the passport as a page for people, about 150 kB.
        with_baselines: also train one network per behaviour within the same size, to compare with; it takes several
            times as long as the fusion.

    Returns:
        The passport, as it is in the artifact.

    Raises:
        FusionError: a behaviour has no teacher, a step cannot be done, or ONNX Runtime does not answer as torch does.
        ArtifactError: the artifact cannot be written.
    """
    artifacts.check_target(out)
    material = Material.prepare(dataset, teachers, recipe, part(told, "targets"))
    return build(material, recipe, out, told, with_report=with_report, with_baselines=with_baselines)


def build(
    material: Material,
    recipe: Recipe,
    out: Path,
    told: Told,
    *,
    with_report: bool = True,
    with_baselines: bool = False,
    decisions: Sequence[str] = (),
    search: Search | None = None,
    verify: Callable[[Work, Execution], str] | None = None,
) -> Passport:
    """The same, from targets that are there already; `decisions` and `search` tell what led to the recipe.

    `verify` sees what was trained before anything more is done with it: what it says is one more decision, and it may
    raise to have it thrown away.
    """
    artifacts.check_target(out)
    torch.manual_seed(recipe.seed)
    dataset, teachers = material.dataset, material.teachers
    jury = Jury(dataset, teachers, Split.TEST)
    _hear_targets(material, jury)
    work = material.start(recipe)
    decisions = [
        *decisions,
        *_reasons(material.targets, dataset.notice),
        *work.decisions,
        *_follow(recipe, work, material, jury, told),
    ]
    kept = _keep_private(recipe, work, material, jury, told)
    network, columns = work.network, material.served_columns(work)
    test = material.features(Split.TEST, columns)
    told("export", 0.0, "measuring execution forms")
    execution = choose_execution(network, dataset.behaviours, test, work.branches)
    if verify is not None:
        decisions.append(verify(work, execution))
    rivals: list[Rival] = []
    if with_baselines:
        rivals, said = _baselines(material, recipe, work.parameter_count, jury, told)
        decisions.append(said)
    parity = export.check_parity(
        export.served(network, test, dataset.behaviours, work.branches), Engine.from_bytes(execution.model).run(test)
    )
    told("export", 0.5, "measuring quality and cost")
    links = export.served_links(network, test, dataset.behaviours, work.branches)
    passport = issue(
        dataset,
        teachers,
        columns,
        Findings(
            behaviours=jury.verdict(links, recipe.seed),
            stages=tuple(jury.stages),
            calibration=jury.calibration(links, recipe.seed),
            model=execution.model,
            parameters=work.parameters_by_part(),
            parity_error=parity,
            decisions=(*decisions, *kept.decisions, execution.reason),
            rivals=tuple(rivals),
            private=kept.records,
        ),
        recipe,
    )
    passport = passport.model_copy(update={"search": search})
    manifest = _manifest(material, work, recipe)
    report = page.render(manifest, passport).encode() if with_report else None
    with SavedNetwork(network, execution.dense, work.branches).saved(beside(out)):
        artifacts.write(out, manifest=manifest, model=execution.model, passport=passport, report=report)
    told("export", 1.0, f"{out} written")
    return passport


def part(told: Told, stage: str) -> Callable[[float, str], None]:
    """What a stage tells of itself; its end is told by who called it."""
    return lambda done, note: told(stage, 0.99 * done, note)


def _hear_targets(material: Material, jury: Jury) -> None:
    """The teachers together, before any network has learnt from them: what the steps after that can be held to."""
    weights = material.targets.weights
    used = {name for chosen in weights.values() for name in chosen}
    links = average(jury.said, weights, len(jury.rows)).astype(np.float32)
    jury.hear("targets", links, sum(one.card.parameters for one in material.teachers if one.card.name in used))


def _follow(recipe: Recipe, work: Work, material: Material, jury: Jury, told: Told) -> list[str]:
    """Take every step; the jury hears what each one did."""
    decisions = []
    for spec in recipe.steps:
        stage = _unused(spec.step, [heard.stage for heard in jury.stages])
        decisions += STEPS[spec.step].run(spec, work, part(told, stage))
        test = material.features(Split.TEST, work.columns)
        heard = jury.hear(stage, export.predict_links(work.network, test), work.network.parameter_count)
        told(stage, 1.0, f"mean {heard.mean_change:+.4f}, worst {heard.worst_change:+.4f} against the best teachers")
    return decisions


def _keep_private(recipe: Recipe, work: Work, material: Material, jury: Jury, told: Told) -> Kept:
    """Judge the network on validation players, if the recipe says so; the jury hears what came of it."""
    if recipe.keep_private is None:
        return Kept((), (), [])
    dataset = material.dataset
    told("keep private", 0.0, "judging every behaviour on validation players")
    links = export.predict_links(work.network, material.features(Split.VALIDATION, work.columns))
    judges = Jury(dataset, material.teachers, Split.VALIDATION)
    kept = keep_private(recipe.keep_private, judges, links, material.teachers)
    work.branches = kept.branches
    if kept.branches:
        test = material.features(Split.TEST, material.served_columns(work))
        answers = export.served_links(work.network, test, dataset.behaviours, work.branches)
        jury.hear("keep private", answers, work.parameter_count)
    told("keep private", 1.0, ", ".join(one.behaviour for one in kept.records) or "nothing")
    return kept


def _baselines(material: Material, recipe: Recipe, parameters: int, jury: Jury, told: Told) -> tuple[list[Rival], str]:
    """The rivals, and what was found out about them; a fused network is not lost because it has none."""
    told("baselines", 0.0, "one network per behaviour")
    try:
        rivals, said = baselines.rivals(material, recipe, parameters, jury, part(told, "baselines"))
    except FusionError as error:
        rivals, said = [], f"no separate networks: {parameters:,} parameters are too few to divide. {error}"
    told("baselines", 1.0, "ready")
    return rivals, said


def _unused(name: str, taken: Sequence[str]) -> str:
    """The name of a stage; with a number where a step is taken again."""
    count = sum(stage.partition(" ")[0] == name for stage in taken)
    return f"{name} {count + 1}" if count else name


def _reasons(targets: Targets, notice: str) -> list[str]:
    said = (
        f"{behaviour} from {' + '.join(f'{weight:.2f} {name}' for name, weight in chosen.items())}"
        for behaviour, chosen in targets.weights.items()
    )
    if not targets.labelled:
        return [
            f"targets (no labels known; the best teachers by their own cards): {'; '.join(said)}",
            f"data-free: {notice}",
            "quality is agreement with the teachers, on outcomes drawn from their answers: not how right they are",
        ]
    reasons = [f"targets (weights chosen on validation players): {'; '.join(said)}"]
    if targets.pseudo_rows:
        real = len(targets.training) - targets.pseudo_rows
        reasons.append(
            f"{targets.pseudo_rows:,} pseudo rows beside {real:,} of players: features swapped between players, which "
            "the teachers answered directly"
        )
    if targets.imported:
        reasons.append(
            f"imported teachers ({', '.join(targets.imported)}) were asked directly, not out of fold: they cannot be "
            "trained again here, so what they may have learnt by heart of training players is passed on"
        )
    return reasons


def _manifest(material: Material, work: Work, recipe: Recipe) -> Manifest:
    dataset = material.dataset
    labels = dataset.labels[dataset.rows(Split.TRAIN)].astype(np.float64)
    priors = np.nanmean(labels, axis=0)
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        playfuse_version=version("playfuse"),
        feature_version=FEATURE_VERSION,
        features=served_features(work.network, work.branches),
        behaviours=dataset.behaviours,
        priors={b.name: float(prior) for b, prior in zip(dataset.behaviours, priors, strict=True)},
        synthetic=dataset.synthetic,
        probe=export.make_probe(
            work.network,
            material.features(Split.VALIDATION, material.served_columns(work)),
            dataset.behaviours,
            work.branches,
        ),
        files_sha256={},
    )
