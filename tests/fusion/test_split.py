"""One network split: planted parts come back, answers stay within the tolerance, parts are teachers as any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from fusion.branching.ownership import SHARED
from fusion.compress import Compression, compress
from fusion.errors import FusionError
from fusion.split import Splitting, split
from fusion.teachers.folder import load
from fusion.teachers.import_card import Answer, ImportCard, Scale
from fusion.teachers.importer import import_model
from fusion.teachers.library import links_of, train, write
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from tests.support.branches import as_model, planted

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.teachers.onnx_teacher import OnnxTeacher

BEHAVIOURS = ("churn_7d", "return_24h", "playtime_7d_hours")
FEATURES = ("sessions_7d", "tenure_days", "gap_1_hours", "gap_2_hours", "gap_3_hours", "session_1_hours")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(200, seed=7))


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> OnnxTeacher:
    torch.set_num_threads(1)
    settings = {"hidden": [32, 24], "epochs": 3}
    spec = {"name": "big", "family": "mlp", "behaviours": BEHAVIOURS, "settings": settings}
    (teacher,) = train(dataset, [TeacherSpec.model_validate(spec)], tmp_path_factory.mktemp("teachers"))
    return teacher


@pytest.fixture(scope="module")
def studio(dataset: Dataset) -> OnnxTeacher:
    """A studio's own network with planted parts, over features of ordinary size."""
    network, _ = planted(1)
    kinds = (Scale.LOGIT, Scale.LOGIT, Scale.LOG1P)
    answers = tuple(Answer(name=name, kind=kind) for name, kind in zip(BEHAVIOURS, kinds, strict=True))
    card = ImportCard(features=FEATURES, behaviours=answers, missing=0.0)
    return import_model("studio", as_model(network, scale=0.05), card, dataset)


def test_planted_parts_come_back_and_nothing_is_lost(dataset: Dataset, studio: OnnxTeacher, tmp_path: Path) -> None:
    _, owners = planted(1)
    found = split(studio, dataset, Splitting(tolerance=0.0))
    for level, own in zip(found.report.structure.levels, owners, strict=False):
        assert level.shared == tuple(np.flatnonzero(own == SHARED))
        assert level.own == {name: tuple(np.flatnonzero(own == column)) for column, name in enumerate(BEHAVIOURS)}
        assert level.removed == ()
    assert found.report.structure.connections_cut == 0
    assert not found.report.fine_tuned
    rows = dataset.rows(Split.TEST)
    expected = links_of(studio, dataset, rows)
    np.testing.assert_allclose(links_of(found.whole, dataset, rows), expected, rtol=1e-4, atol=1e-4)
    assert found.report.quality_after == pytest.approx(found.report.quality_before, abs=1e-3)
    for teacher in (found.whole, *found.parts.values()):
        write(teacher, tmp_path)
    loaded = {teacher.card.name: teacher for teacher in load(tmp_path, dataset)}
    assert set(loaded) == {"studio_split", *(f"studio_{name}" for name in BEHAVIOURS)}
    for column, name in enumerate(BEHAVIOURS):
        part = loaded[f"studio_{name}"]
        assert part.card == found.part(name).card
        assert part.card.behaviour_names == (name,)
        assert part.card.parameters < found.whole.card.parameters
        np.testing.assert_allclose(links_of(part, dataset, rows)[:, 0], expected[:, column], rtol=1e-4, atol=1e-4)


def test_a_trained_network_stays_within_the_tolerance(dataset: Dataset, trained: OnnxTeacher) -> None:
    found = split(trained, dataset, Splitting(tolerance=0.03, calibration_rows=1024, epochs=0))
    report = found.report
    assert report.structure.connections_cut > 0
    assert 0 < max(report.structure.lost.values()) <= 0.03
    # Other players than those that were measured: twice as much would be another sort of error.
    assert max(report.lost.values()) <= 0.06
    assert found.whole.card.parameters < trained.card.parameters
    assert set(report.quality_before) == set(report.quality_after) == set(BEHAVIOURS)
    assert found.whole.card.validation_quality == report.quality_after
    said = found.whole.card.settings["split"]
    assert isinstance(said, dict)
    assert said["report"] == report.model_dump(mode="json")


def test_fine_tuning_is_reproducible_and_brings_the_answers_back(dataset: Dataset, trained: OnnxTeacher) -> None:
    settings = Splitting(tolerance=0.2, calibration_rows=512, epochs=2)
    first, second = (split(trained, dataset, settings) for _ in range(2))
    assert first.whole.model == second.whole.model
    plain = split(trained, dataset, settings.model_copy(update={"epochs": 0}))
    assert first.report.fine_tuned
    assert first.report.structure == plain.report.structure
    assert np.mean(list(first.report.lost.values())) < np.mean(list(plain.report.lost.values()))


def test_a_part_of_our_own_family_is_compressed_like_any_other(dataset: Dataset, trained: OnnxTeacher) -> None:
    part = split(trained, dataset, Splitting(tolerance=0.03, calibration_rows=512, epochs=0)).part("churn_7d")
    assert part.card.family == "mlp"
    budget = part.card.parameters * 3 // 4
    small = compress(part, dataset, Compression(budget_parameters=budget, epochs=1, calibration_rows=128))
    assert small.card.parameters <= budget


def test_a_dataset_without_validation_players_cannot_judge(dataset: Dataset, trained: OnnxTeacher) -> None:
    without = dataset.subset(np.flatnonzero(dataset.split != Split.VALIDATION))
    with pytest.raises(FusionError, match="got no validation players"):
        split(trained, without)


def test_a_part_that_is_not_there_is_told_so(dataset: Dataset, studio: OnnxTeacher) -> None:
    found = split(studio, dataset, Splitting(tolerance=0.0, calibration_rows=64))
    with pytest.raises(FusionError, match="part of teacher studio_split: got churn, expected one of churn_7d, return"):
        found.part("churn")
