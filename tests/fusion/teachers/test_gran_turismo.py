"""The quality that teachers have to reach on real players."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.teachers.library import qualities, train
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Split, build
from fusion.telemetry.log import read_log
from fusion.telemetry.sources import DATA_VARIABLE, find_log
from fusion.telemetry.spec import load_spec

if TYPE_CHECKING:
    from pathlib import Path

NAME = "gran_turismo_sport"
FLOORS = {"churn_7d": 0.80, "return_24h": 0.72, "next_session_long": 0.72, "playtime_7d_hours": 0.46}


@pytest.mark.data
def test_boosted_teachers_reach_the_known_figures(tmp_path: Path) -> None:
    log = find_log(NAME)
    if log is None:
        pytest.skip(f"the Gran Turismo Sport log is not there: set {DATA_VARIABLE} to the folder that holds it")
    dataset = build(read_log(log, load_spec(NAME)))
    specs = [
        TeacherSpec(
            name=name,
            family="boosted",
            behaviours=(name,),
            settings={"training_rows": 40_000, "trees": 60, "learning_rate": 0.1},
        )
        for name in FLOORS
    ]
    reached = {
        name: value
        for teacher in train(dataset, specs, tmp_path)
        for name, value in qualities(teacher, dataset, dataset.rows(Split.TEST)).items()
    }
    assert {name: value for name, value in reached.items() if value < FLOORS[name]} == {}
    assert set(reached) == set(FLOORS)
