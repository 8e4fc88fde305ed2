"""The automatic strategy, whole: prepare once, search, train the winner to the end, write it, say why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.errors import FusionError
from fusion.material import Material
from fusion.pipeline import build, part
from fusion.search.candidate import Bench
from fusion.search.study import check_file, search
from fusion.search.verdict import Verdict, judge
from inference.contract import artifact as artifacts
from inference.contract.passport import Candidate, Search

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.pipeline import Told
    from fusion.recipe import Recipe
    from fusion.search.budget import Budget, Measured
    from fusion.search.study import Tried
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.passport import Passport


def fuse_within(
    budget: Budget,
    dataset: Dataset,
    teachers: Sequence[OnnxTeacher],
    base: Recipe,
    out: Path,
    study: Path,
    told: Told,
    *,
    with_report: bool = True,
    with_baselines: bool = False,
    most_trials: int | None = None,
) -> tuple[Passport, Verdict]:
    """Find the best recipe that holds a budget on this machine, and fuse by it.

    Args:
        budget: what has to hold.
        dataset: that the teachers were trained on.
        teachers: together they predict every behaviour of the dataset.
        base: the dense network and the schedules that every recipe starts from.
        out: folder of the artifact.
        study: SQLite file of the search; one that is there is gone on from.
        told: told how far it has come.
        with_report: see `fusion.pipeline.fuse`.
        with_baselines: see `fusion.pipeline.fuse`.
        most_trials: of the search.

    Raises:
        FusionError: the study's file cannot be used, or no recipe that was tried holds the budget; the message names
            the one that comes closest.
        ArtifactError: the artifact cannot be written.
    """
    artifacts.check_target(out)
    check_file(study)
    material = Material.prepare(dataset, teachers, base, part(told, "targets"))
    bench = Bench.prepare(material, base, part(told, "dense"))
    found = search(bench, base, budget, study, part(told, "search"), most_trials=most_trials)
    verdict = judge(found, budget)
    if verdict is None or verdict.winner.found is None:
        raise FusionError(
            where=f"search in {study}",
            got=f"{len(found)} recipes tried, none of them measured to the end",
            expected="at least one",
            fix="Give it more search_minutes, or allow a larger loss of quality.",
        )
    closest = verdict.winner.found
    if not verdict.holds:
        raise FusionError(
            where="budget",
            got=f"no recipe out of {len(found)} that holds it; closest is trial {verdict.winner.number} "
            f"({figures(closest)}): {budget.told(closest)}",
            expected="at least one",
            fix="Allow what the closest one needs, or search on for more search_minutes: what was tried is kept.",
        )
    said = f"search: {len(found)} recipes tried, trial {verdict.winner.number} chosen ({figures(closest)})"
    others = [
        f"search: trial {one.number} of the front lost: {verdict.reasons[one.number]}"
        for one in verdict.front
        if one is not verdict.winner
    ]
    # By a bound that the front does not know of (parameters, joules), the winner may stand behind it.
    shown = dict.fromkeys((*verdict.front, verdict.winner))
    passport = build(
        material,
        verdict.winner.recipe,
        out,
        told,
        with_report=with_report,
        with_baselines=with_baselines,
        decisions=(said, *others),
        search=Search(
            trials=len(found),
            judged_on="validation",
            front=tuple(_candidate(one) for one in shown),
            chosen=_name(verdict.winner),
        ),
    )
    return passport, verdict


def _candidate(one: Tried) -> Candidate:
    assert one.found is not None, "only what was measured is on a front"
    return Candidate(name=_name(one), **one.found.model_dump(exclude={"joules_per_lobby"}))


def _name(one: Tried) -> str:
    return f"trial {one.number}"


def figures(found: Measured) -> str:
    """What a candidate measured, in a few words."""
    return (
        f"mean change {found.mean_change:+.4f}, worst {found.worst_change:+.4f}, {found.parameters:,} parameters, "
        f"{found.file_bytes:,} bytes, {found.cpu_us_per_lobby:.0f} µs and {found.joules_per_lobby:.2g} J per lobby"
    )
