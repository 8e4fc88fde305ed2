"""The automatic strategy, whole: prepare once, search, train the best to the end, write it if it holds, say why."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from fusion.errors import FusionError
from fusion.material import Material
from fusion.pipeline import build, part
from fusion.search.candidate import Bench
from fusion.search.study import check_file, remember, search
from fusion.search.verdict import closest, explain, shortlist
from inference.contract import artifact as artifacts
from inference.contract.passport import Candidate, Search

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.execution import Execution
    from fusion.pipeline import Told
    from fusion.recipe import Recipe
    from fusion.search.budget import Budget, Measured
    from fusion.search.study import Tried
    from fusion.search.verdict import Verdict
    from fusion.steps.step import Work
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset
    from inference.contract.passport import Passport


_MOST_FINALISTS: Final = 2
"""Trained to the end in one go: each takes as long as fusing does."""


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
        FusionError: the study's file cannot be used, or no recipe that was trained to the end holds the budget; the
            message names the one that comes closest.
        ArtifactError: the artifact cannot be written.
    """
    artifacts.check_target(out)
    check_file(study)
    material = Material.prepare(dataset, teachers, base, part(told, "targets"))
    bench = Bench.prepare(material, base, part(told, "dense"))
    found = search(bench, base, budget, study, part(told, "search"), most_trials=most_trials)
    for finalist in shortlist(found, budget)[:_MOST_FINALISTS]:
        verdict = explain(found, finalist, budget)
        try:
            passport = build(
                material,
                finalist.recipe,
                out,
                told,
                with_report=with_report,
                with_baselines=with_baselines,
                decisions=_decisions(found, verdict),
                search=_search(found, verdict),
                verify=partial(_verify, bench, budget),
            )
        except _Missed as missed:
            found = remember(bench, base, budget, study, finalist.number, missed.found)
        else:
            return passport, verdict
    raise _nobody(found, budget, study)


class _Missed(Exception):  # noqa: N818 - no fault
    """A finalist, trained to the end, does not hold the budget."""

    def __init__(self, found: Measured) -> None:
        super().__init__()
        self.found = found


def _verify(bench: Bench, budget: Budget, work: Work, execution: Execution) -> str:
    found = bench.judge(work, execution)
    if budget.excess(found):
        raise _Missed(found)
    return f"search: trained to the end it holds the budget on the validation players ({figures(found)})"


def _nobody(found: Sequence[Tried], budget: Budget, study: Path) -> FusionError:
    near = closest(found, budget)
    if near is None:
        return FusionError(
            where=f"search in {study}",
            got=f"{len(found)} recipes tried, none of them measured to the end",
            expected="at least one",
            fix="Give it more search_minutes, or allow a larger loss of quality.",
        )
    one, measured = near
    bounds, trained = (budget.costs, "") if one.trained is None else (budget, ", trained to the end")
    left = len(shortlist(found, budget))
    again = f"; {left} within the costs are not trained to the end yet: run the same again" if left else ""
    return FusionError(
        where="budget",
        got=f"no recipe out of {len(found)} that holds it; closest is {_name(one)}{trained} ({figures(measured)}): "
        f"{bounds.told(measured)}",
        expected="at least one",
        fix=f"Allow what the closest one needs, or search on for more search_minutes: what was tried is kept{again}.",
    )


def _decisions(found: Sequence[Tried], verdict: Verdict) -> list[str]:
    winner = verdict.winner
    assert winner.found is not None, "only what was measured is on the shortlist"
    return [
        f"search: {len(found)} recipes tried, {_name(winner)} chosen ({figures(winner.found)} after short training)",
        *(
            f"search: {_name(one)} of the front lost: {verdict.reasons[one.number]}"
            for one in verdict.front
            if one.number != winner.number
        ),
    ]


def _search(found: Sequence[Tried], verdict: Verdict) -> Search:
    # By a bound that the front does not know of (parameters, joules), the winner may stand behind it.
    shown = {one.number: one for one in (*verdict.front, verdict.winner)}
    return Search(
        trials=len(found),
        judged_on="validation",
        front=tuple(_candidate(one) for one in shown.values()),
        chosen=_name(verdict.winner),
    )


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
