"""The pipeline: teachers in, one artifact out. Every weight walks it once, in this order.

targets → distil (dense) → metric → decompose → balance → fine-tune → execution form → export → parity → passport
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from fusion import export
from fusion.distill.student import Rows, Student
from fusion.distill.targets import Targets, make_targets
from fusion.encoding import PiecewiseLinearEncoding
from fusion.execution import choose_execution
from fusion.lowrank.layer import decomposed
from fusion.lowrank.metric import Metric
from fusion.lowrank.ranks import Ranks, lowered
from fusion.lowrank.sensitivity import layer_metrics
from fusion.network import FusedNetwork, Widths
from fusion.passport import Findings, Jury, issue
from fusion.recipe import Cp
from fusion.teachers.library import whole_players
from fusion.telemetry.dataset import Split
from fusion.training import train
from inference.contract import artifact as artifacts
from inference.contract.artifact import Manifest
from inference.contract.features import FEATURE_VERSION
from inference.engine import Engine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.lowrank.layer import LowRankLayer
    from fusion.recipe import Recipe
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset
    from fusion.training import Schedule
    from inference.contract.passport import Passport

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
        FusionError: a behaviour has no teacher, a rank does not fit, or ONNX Runtime does not answer as torch does.
        ArtifactError: the artifact cannot be written.
    """
    artifacts.check_target(out)
    torch.manual_seed(recipe.seed)
    dataset = _capped(dataset, recipe)
    jury = Jury(dataset, teachers)
    material = _prepare(dataset, teachers, recipe, told)
    widths = Widths(recipe.network.hidden, recipe.network.trunk, recipe.network.behaviour)
    network = FusedNetwork(material.encoding, len(dataset.behaviours), widths, recipe.seed)
    test = np.ascontiguousarray(dataset.features[jury.rows][:, material.columns])

    def hear(stage: str) -> None:
        heard = jury.hear(stage, export.predict_links(network, test), network.parameter_count)
        told(stage, 1.0, f"mean {heard.mean_change:+.4f}, worst {heard.worst_change:+.4f} against the best teachers")

    _train(network, dataset, material, recipe.distil, "distil", told, fresh=True)
    hear("distil")
    decisions = [material.reason, *_decompose(network, material, recipe)]
    hear("decompose")
    _train(network, dataset, material, recipe.finetune, "fine-tune", told, fresh=False)
    hear("fine-tune")
    told("export", 0.0, "measuring execution forms")
    execution = choose_execution(network, dataset.behaviours, test)
    parity = export.check_parity(
        export.served(network, test, dataset.behaviours), Engine.from_bytes(execution.model).run(test)
    )
    told("export", 0.5, "measuring quality and cost")
    passport = issue(
        dataset,
        teachers,
        material.columns,
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
    manifest = _manifest(dataset, network, material, recipe)
    artifacts.write(out, manifest=manifest, model=execution.model, passport=passport)
    told("export", 1.0, f"{out} written")
    return passport


def _capped(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The dataset with no more training rows than the recipe wants: all of a player's or none."""
    training = dataset.rows(Split.TRAIN)
    kept = whole_players(training, dataset.player, recipe.training_rows, recipe.seed)
    if len(kept) == len(training):
        return dataset
    return dataset.subset(np.union1d(kept, np.flatnonzero(dataset.split != Split.TRAIN)))


@dataclass(frozen=True, slots=True)
class _Material:
    """What the network is trained from.

    Attributes:
        encoding: fitted on the training players.
        columns: (features,) of the dataset's features that the network reads.
        training: training players.
        validation: validation players.
        reason: which teachers the targets come from, in a sentence.
    """

    encoding: PiecewiseLinearEncoding
    columns: NDArray[np.int64]
    training: Rows
    validation: Rows
    reason: str


def _prepare(dataset: Dataset, teachers: Sequence[OnnxTeacher], recipe: Recipe, told: Told) -> _Material:
    def told_targets(done: float, note: str) -> None:
        told("targets", done, note)

    targets = make_targets(dataset, teachers, label_share=recipe.label_share, told=told_targets)
    rows = dataset.rows(Split.TRAIN)
    encoding = PiecewiseLinearEncoding.fit(dataset.features[rows], dataset.feature_names, recipe.network.bins)
    columns = np.array([dataset.feature_names.index(name) for name in encoding.features], dtype=np.int64)

    def examples(split: Split, wanted: NDArray[np.float32]) -> Rows:
        features = dataset.features[dataset.rows(split)][:, columns]
        return Rows(torch.from_numpy(features), torch.from_numpy(wanted))

    return _Material(
        encoding,
        columns,
        examples(Split.TRAIN, targets.training),
        examples(Split.VALIDATION, targets.validation),
        _reason(targets),
    )


def _reason(targets: Targets) -> str:
    said = (
        f"{behaviour} from {' + '.join(f'{weight:.2f} {name}' for name, weight in chosen.items())}"
        for behaviour, chosen in targets.weights.items()
    )
    return f"targets (weights chosen on validation players): {'; '.join(said)}"


def _train(
    network: FusedNetwork,
    dataset: Dataset,
    material: _Material,
    schedule: Schedule,
    stage: str,
    told: Told,
    *,
    fresh: bool,
) -> None:
    train(
        Student(network),
        dataset.behaviours,
        material.training,
        material.validation,
        schedule,
        lambda done, note: told(stage, 0.99 * done, note),
        fresh=fresh,
    )


def _decompose(network: FusedNetwork, material: _Material, recipe: Recipe) -> list[str]:
    """Replace the dense tensors by their low-rank forms; say what each one cost in the metric."""
    lowrank = recipe.lowrank
    rows = len(material.training)
    step = max(1, rows // lowrank.calibration_rows)
    sample = np.ascontiguousarray(material.training.features[::step].numpy())
    metrics = layer_metrics(network, sample)
    decisions = []
    for name, form in (("input", lowrank.input), ("trunk", lowrank.trunk), ("layers", lowrank.layers)):
        layer: LowRankLayer = getattr(network, name)
        if form is None:
            decisions.append(f"{name}: kept dense, as the recipe says")
            continue
        tensor = layer.tensor()
        metric = metrics[name] if lowrank.metric == "two_sided" else Metric.plain(tensor.ndim)
        wanted: Ranks = form.rank if isinstance(form, Cp) else form.ranks
        ranks = lowered(wanted, tensor.shape)
        small = decomposed(layer, ranks, metric, recipe.seed)
        setattr(network, name, small)
        kept = 1.0 - metrics[name].error(tensor, small.tensor()) ** 2
        numbers = sum(array.numel() for array in small.parameters())
        lowered_from = "" if ranks == wanted else f" (the highest possible; the recipe asks for {wanted})"
        decisions.append(
            f"{name}: {form.form} of rank {ranks}{lowered_from} keeps {kept:.1%} of what matters in the tensor "
            f"{tensor.shape}, in {numbers:,} instead of {tensor.size:,} numbers"
        )
    return decisions


def _manifest(dataset: Dataset, network: FusedNetwork, material: _Material, recipe: Recipe) -> Manifest:
    labels = dataset.labels[dataset.rows(Split.TRAIN)].astype(np.float64)
    priors = np.nanmean(labels, axis=0)
    validation = np.ascontiguousarray(material.validation.features.numpy())
    return Manifest(
        name=recipe.name,
        version=recipe.version,
        playfuse_version=version("playfuse"),
        feature_version=FEATURE_VERSION,
        features=material.encoding.features,
        behaviours=dataset.behaviours,
        priors={b.name: float(prior) for b, prior in zip(dataset.behaviours, priors, strict=True)},
        synthetic=dataset.synthetic,
        probe=export.make_probe(network, validation, dataset.behaviours),
        files_sha256={},
    )
