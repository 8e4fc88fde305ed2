"""The no-harm rule: what cannot be fused within a tolerance keeps its best teacher, as a branch of the same graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from fusion.branch import Branch
from fusion.errors import FusionError
from inference.contract.passport import PrivateBehaviour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fusion.passport import Jury
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from inference.contract.behaviours import Behaviour


class KeepPrivate(BaseModel):
    """When a behaviour is kept private."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tolerance: float = Field(
        default=0.02, ge=0, le=1, description="loss of AUC or R² on validation players that is still fused"
    )


class Kept(NamedTuple):
    """What the rule came to.

    Attributes:
        branches: one per teacher that answers for itself, in the teachers' order.
        records: per behaviour that they answer for, in the behaviours' order.
        decisions: what was decided and why, in sentences.
    """

    branches: tuple[Branch, ...]
    records: tuple[PrivateBehaviour, ...]
    decisions: list[str]


def keep_private(rule: KeepPrivate, jury: Jury, links: NDArray[np.float32], teachers: Sequence[OnnxTeacher]) -> Kept:
    """Judge every behaviour of a network.

    Args:
        rule: how much may be lost.
        jury: of validation players: the test players are for the verdict on what was chosen.
        links: (rows of the jury, behaviours), the network's.
        teachers: that were fused.
    """
    by_name = {teacher.card.name: teacher for teacher in teachers}
    records, decisions = [], []
    for behaviour, change, fused in zip(jury.dataset.behaviours, jury.changes(links), links.T, strict=True):
        if change >= -rule.tolerance:
            continue
        found, said = _judge(behaviour, change, jury.reached(behaviour, fused), rule, jury, by_name)
        decisions.append(said)
        if found is not None:
            records.append(found)
    if not decisions:
        decisions = [
            f"kept private: nothing, for on the validation players no behaviour is more than {rule.tolerance:g} behind "
            "its best teacher"
        ]
    return Kept(_branches(records, teachers), tuple(records), decisions)


def _judge(
    behaviour: Behaviour,
    change: float,
    fused: float,
    rule: KeepPrivate,
    jury: Jury,
    teachers: Mapping[str, OnnxTeacher],
) -> tuple[PrivateBehaviour | None, str]:
    """What to keep of a behaviour that lost too much, if that can be, and what to say of it."""
    best, lost = jury.best[behaviour.name][0], f"{behaviour.name} is {-change:.4f} behind "
    answers = {name: said[behaviour.name] for name, said in jury.said.items() if behaviour.name in said}
    faults = {name: _fault(teachers[name]) for name in answers}
    able = {name: jury.reached(behaviour, links) for name, links in answers.items() if not faults[name]}
    chosen = max(able, key=able.__getitem__, default="")
    beyond = f"on the validation players, where {rule.tolerance:g} is allowed"
    why = f"{lost}{best} {beyond}"
    if chosen != best:
        why += f"; {best} cannot be a branch ({faults[best]})"
    if not chosen or fused >= able[chosen] - rule.tolerance:
        rest = f", and {chosen}, the best that can, is not so far ahead" if chosen else ", nor can any other teacher"
        return None, f"not kept private: {why}{rest}"
    if chosen != best:
        why += f", and {chosen} is {able[chosen] - fused:.4f} ahead"
    record = PrivateBehaviour(behaviour=behaviour.name, teacher=chosen, fused_change=fused - able[chosen], reason=why)
    return record, f"kept private: {behaviour.name} by {chosen}: {why}"


def _fault(teacher: OnnxTeacher) -> str:
    """Why a teacher cannot be a branch; empty if it can."""
    try:
        Branch(teacher, teacher.card.behaviour_names).check()
    except FusionError as error:
        return error.got
    return ""


def _branches(records: Sequence[PrivateBehaviour], teachers: Sequence[OnnxTeacher]) -> tuple[Branch, ...]:
    answers = {
        teacher.card.name: tuple(record.behaviour for record in records if record.teacher == teacher.card.name)
        for teacher in teachers
    }
    return tuple(Branch(one, answers[one.card.name]) for one in teachers if answers[one.card.name])
