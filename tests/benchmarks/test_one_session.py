"""All teachers in one graph say what each of them says alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.one_session import one_graph, scorer
from fusion.teachers.library import links_of, train
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Split, build
from fusion.telemetry.read import read
from fusion.telemetry.simulate import simulate
from fusion.telemetry.spec import load_any_spec
from tests.support.tables import write_table


def test_one_graph_says_what_its_teachers_say(tmp_path: Path) -> None:
    dataset = build(simulate(150, seed=2))
    specs = (
        TeacherSpec(name="line", family="logistic", settings={"epochs": 1}),
        TeacherSpec(name="recurrent", family="gru", behaviours=("churn_7d",), settings={"epochs": 1, "width": 4}),
        TeacherSpec(
            name="trees", family="boosted", behaviours=("sessions_7d", "return_24h"), settings={"trees": 3, "leaves": 4}
        ),
    )
    teachers = train(dataset, specs, tmp_path)
    rows = dataset.rows(Split.TEST)
    expected = np.concatenate([links_of(teacher, dataset, rows) for teacher in teachers], axis=1)
    score = scorer(one_graph(teachers, dataset.feature_names), dataset.features[rows], dataset.sequences(rows))
    np.testing.assert_allclose(score(), expected, rtol=1e-5, atol=1e-5)


def test_a_table_has_no_sequences_to_give(tmp_path: Path) -> None:
    file, spec = write_table(tmp_path)
    dataset = read(file, load_any_spec(spec))
    teachers = train(dataset, [TeacherSpec(name="line", family="logistic", settings={"epochs": 1})], tmp_path)
    rows = dataset.rows(Split.TEST)
    score = scorer(one_graph(teachers, dataset.feature_names), dataset.features[rows], None)
    np.testing.assert_allclose(score(), links_of(teachers[0], dataset, rows), rtol=1e-5, atol=1e-5)
