"""Which teachers to train: presets and what a file may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fusion.errors import FusionError
from fusion.teachers.boosted import BoostedSettings
from fusion.teachers.families import FAMILIES
from fusion.teachers.specs import Preset, TeacherSet, TeacherSpec, preset
from inference.contract.behaviours import COOP_BEHAVIOUR, DEFAULT_BEHAVIOURS, Behaviour

BEHAVIOURS = tuple(DEFAULT_BEHAVIOURS.values())


@pytest.mark.parametrize("which", Preset)
@pytest.mark.parametrize("known", [BEHAVIOURS, (*BEHAVIOURS, COOP_BEHAVIOUR)], ids=len)
def test_presets_have_two_teachers_of_each_behaviour_and_every_family(
    which: Preset, known: tuple[Behaviour, ...]
) -> None:
    teachers = preset(which, known).teachers
    assert {spec.family for spec in teachers} == set(FAMILIES)
    for family in ("boosted", "mlp"):
        singles = [spec for spec in teachers if spec.family == family]
        assert [spec.behaviours for spec in singles] == [(behaviour.name,) for behaviour in known]
    assert all(spec.choose(known) == known for spec in teachers if spec.family not in {"boosted", "mlp"})


@pytest.mark.parametrize("which", Preset)
def test_presets_for_a_table_leave_out_what_reads_sessions(which: Preset) -> None:
    teachers = preset(which, BEHAVIOURS, sessions=False).teachers
    assert {spec.family for spec in teachers} == {"boosted", "mlp", "logistic"}
    assert len(teachers) == 2 * len(BEHAVIOURS) + 1


def test_the_demo_is_smaller() -> None:
    full, demo = (preset(which, BEHAVIOURS).teachers for which in (Preset.FULL, Preset.DEMO))
    for large, small in zip(full, demo, strict=True):
        assert large.name == small.name
        assert small.family_settings().training_rows < large.family_settings().training_rows


def test_settings_are_those_of_the_family() -> None:
    spec = TeacherSpec(name="trees", family="boosted", settings={"trees": 7})
    assert spec.family_settings() == BoostedSettings(trees=7)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"name": "a", "family": "forest"}, "one of boosted, gru"),
        (
            {"name": "a", "family": "boosted", "settings": {"tree": 3}},
            "'tree'; did you mean 'trees'.*leaves",
        ),
        ({"name": "a", "family": "mlp", "settings": {"epochs": 0}}, r"settings\.epochs"),
        ({"name": "a", "family": "logistic", "settings": {"hidden": [3]}}, "hidden"),
        ({"name": "A b", "family": "mlp"}, "name"),
        ({"name": "a", "family": "mlp", "behaviours": []}, "behaviours"),
        ({"name": "a", "family": "mlp", "behaviours": ["x", "y", "x"]}, "named twice: x"),
        ({"name": "a", "family": "mlp", "colour": "red"}, "colour"),
    ],
)
def test_what_is_no_teacher_is_refused(document: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TeacherSpec.model_validate(document)


def test_two_teachers_of_one_name_are_refused() -> None:
    twice = TeacherSpec(name="a", family="mlp")
    with pytest.raises(ValidationError, match="two teachers of one name: a"):
        TeacherSet(teachers=(twice, twice))


def test_a_behaviour_that_the_dataset_lacks_is_refused() -> None:
    spec = TeacherSpec(name="a", family="mlp", behaviours=("churn_7d", "spending"))
    with pytest.raises(FusionError, match="behaviours of teacher a: got spending"):
        spec.choose(BEHAVIOURS)
