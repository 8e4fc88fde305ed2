"""One behaviour more, anew or less: learnt well enough, and the others' answers the same to the bit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fusion.errors import FusionError
from fusion.incremental.fused import Fused
from fusion.incremental.update import add, remove
from fusion.pipeline import fuse
from fusion.recipe import Network, Recipe
from fusion.saved import beside
from fusion.steps.decompose import Anchored, AnyStackForm, Basis, Decompose, PerModelSvd
from fusion.steps.distil import Distil, Finetune
from fusion.steps.forms import Cp, Tucker
from fusion.steps.quantize import Quantize
from fusion.teachers.library import train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from fusion.training import Schedule
from inference.contract.artifact import MODEL_FILE, REPORT_FILE, write
from inference.engine import load

NEW = "return_72h"
QUICK = Schedule(epochs=4, batch_rows=128, learning_rate=1e-2, weight_decay=0.0)
FORMS: dict[str, AnyStackForm | None] = {
    "tucker": Tucker(ranks=(None, 3, 5)),
    "behaviours decomposed too": Tucker(ranks=(4, 3, 5)),
    "cp": Cp(rank=6),
    "basis of the outputs": Basis(rank=3, shared="out"),
    "svd of each": PerModelSvd(rank=2),
    "anchored": Anchored(rank=1),
    "dense": None,
}


def _recipe(form: AnyStackForm | None, *, quantized: bool = False) -> Recipe:
    rounded = (Quantize(),) if quantized else ()
    steps = (
        Distil(epochs=3, learning_rate=5e-3),
        Decompose(input=Tucker(ranks=(6, 3, 6)), trunk=Cp(rank=6), layers=form),
        Finetune(epochs=2, learning_rate=5e-3),
        *rounded,
    )
    return Recipe(least_training_rows=0, network=Network(bins=4, hidden=24, trunk=12, behaviour=4), steps=steps)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(250, seed=3))


@pytest.fixture(scope="module")
def without(dataset: Dataset) -> Dataset:
    kept = [column for column, behaviour in enumerate(dataset.behaviours) if behaviour.name != NEW]
    censored = {name: count for name, count in dataset.censored.items() if name != NEW}
    return replace(
        dataset,
        behaviours=tuple(dataset.behaviours[column] for column in kept),
        labels=np.ascontiguousarray(dataset.labels[:, kept]),
        censored=censored,
    )


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    specs = (TeacherSpec(name="linear", family="logistic", settings={"epochs": 4}),)
    return train(dataset, specs, tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="module")
def older(without: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    specs = (TeacherSpec(name="older", family="logistic", settings={"epochs": 3}),)
    return train(without, specs, tmp_path_factory.mktemp("older"))


def silent(stage: str, done: float, note: str) -> None:
    assert 0.0 <= done <= 1.0


@pytest.fixture(scope="module")
def cp(without: Dataset, older: list[OnnxTeacher], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact without the new behaviour, to be copied, never changed."""
    folder = tmp_path_factory.mktemp("cp") / "artifact"
    fuse(without, older, _recipe(FORMS["cp"]), folder, silent, with_report=False)
    return folder


def copied(artifact: Path, to: Path) -> Path:
    shutil.copytree(artifact, to)
    shutil.copy(beside(artifact), beside(to))
    return to


def answers(path: Path, dataset: Dataset) -> dict[str, NDArray[np.float32]]:
    artifact, engine = load(path)
    rows = dataset.rows(Split.TEST)
    columns = [dataset.feature_names.index(name) for name in artifact.manifest.features]
    predictions = engine.run(np.ascontiguousarray(dataset.features[rows][:, columns]))
    return dict(zip(artifact.manifest.behaviour_names, predictions.T, strict=True))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_behaviour_is_added_and_all_others_keep_every_bit(
    form: AnyStackForm | None,
    dataset: Dataset,
    without: Dataset,
    teachers: list[OnnxTeacher],
    older: list[OnnxTeacher],
    tmp_path: Path,
) -> None:
    fuse(without, older, _recipe(form), tmp_path / "v1", silent, with_report=False)
    before = answers(tmp_path / "v1", dataset)
    passport = add(Fused.open(tmp_path / "v1"), NEW, dataset, teachers, tmp_path / "v2", "2", silent, schedule=QUICK)
    after = answers(tmp_path / "v2", dataset)
    assert set(after) == {behaviour.name for behaviour in dataset.behaviours}
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    row = next(row for row in passport.behaviours if row.behaviour == NEW)
    assert row.fused.value > 0.6
    assert row.change.value > -0.1
    artifact, _ = load(tmp_path / "v2")
    assert artifact.manifest.version == "2"
    assert passport.stages[-1].stage == f"add {NEW}"
    assert passport.fused_cost.parameters > load(tmp_path / "v1")[0].passport.fused_cost.parameters


def test_a_region_gets_a_column_of_its_own(
    dataset: Dataset, teachers: list[OnnxTeacher], cp: Path, tmp_path: Path
) -> None:
    region = dataset.subset(np.flatnonzero(dataset.player % 2 == 0))
    own = train(region, [TeacherSpec(name="region", family="logistic", settings={"epochs": 4})], tmp_path / "region")
    before = answers(cp, dataset)
    passport = add(
        Fused.open(cp), "churn_7d", region, own, tmp_path / "v2", "2", silent, called="churn_7d_eu", schedule=QUICK
    )
    after = answers(tmp_path / "v2", dataset)
    assert set(after) == {*before, "churn_7d_eu"}
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    row = next(row for row in passport.behaviours if row.behaviour == "churn_7d_eu")
    assert row.best_teacher == "region"
    assert row.test_rows <= len(region.rows(Split.TEST))
    assert row.fused.value > 0.6
    again = add(
        Fused.open(tmp_path / "v2"), "churn_7d", region, own, tmp_path / "v3", "3", silent, called="churn_7d_eu",
        schedule=QUICK,
    )  # fmt: skip
    assert again.stages[-1].stage == "refresh churn_7d_eu"
    bad = tmp_path / "bad"
    for name, told in (("churn 7d!", "'churn 7d!', expected lower-case"), ("playtime_7d_hours", "hours played")):
        with pytest.raises(FusionError, match=told):
            add(Fused.open(cp), "churn_7d", region, own, bad, "2", silent, called=name, schedule=QUICK)
    assert not bad.exists()


def test_refreshed_and_removed_of_a_quantized_network(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    fuse(dataset, teachers, _recipe(FORMS["tucker"], quantized=True), tmp_path / "v1", silent, with_report=False)
    first = answers(tmp_path / "v1", dataset)
    add(Fused.open(tmp_path / "v1"), NEW, dataset, teachers, tmp_path / "v2", "2", silent, schedule=QUICK)
    second = answers(tmp_path / "v2", dataset)
    assert list(second) == list(first)
    assert not np.array_equal(second[NEW], first[NEW])
    remove(Fused.open(tmp_path / "v2"), NEW, tmp_path / "v3", "3", silent)
    third = answers(tmp_path / "v3", dataset)
    assert NEW not in third
    for name, values in third.items():
        np.testing.assert_array_equal(second[name], values)
        np.testing.assert_array_equal(first[name], values)


def test_one_validation_player_is_enough_and_none_of_a_kind_are_refused_before_any_work(
    dataset: Dataset, teachers: list[OnnxTeacher], cp: Path, tmp_path: Path
) -> None:
    def attempt(rows: NDArray[np.int64]) -> None:
        heard.clear()
        known = dataset.subset(rows)
        add(Fused.open(cp), NEW, known, teachers, tmp_path / "v2", "2", told, schedule=QUICK)

    def told(stage: str, done: float, note: str) -> None:
        heard.append(stage)

    heard: list[str] = []
    for split in Split:
        with pytest.raises(FusionError, match=r"got no (training|validation|test) players, expected at least one"):
            attempt(np.flatnonzero(dataset.split != split))
        assert not heard
    alike = dataset.labels[:, [behaviour.name for behaviour in dataset.behaviours].index(NEW)] != 0
    with pytest.raises(FusionError, match=f"labels of {NEW}: got no two different ones in the rows of the test"):
        attempt(np.flatnonzero((dataset.split != Split.TEST) | alike))
    assert not heard
    attempt(np.union1d(dataset.rows(Split.VALIDATION)[:1], np.flatnonzero(dataset.split != Split.VALIDATION)))
    assert load(tmp_path / "v2")[0].manifest.version == "2"


def test_an_artifact_with_a_report_keeps_one_and_it_is_of_the_new_version(cp: Path, tmp_path: Path) -> None:
    old, _ = load(cp)
    model = (cp / MODEL_FILE).read_bytes()
    write(tmp_path / "v1", manifest=old.manifest, model=model, passport=old.passport, report=b"of version 1")
    shutil.copy(beside(cp), beside(tmp_path / "v1"))
    remove(Fused.open(tmp_path / "v1"), "next_gap_hours", tmp_path / "v2", "2", silent)
    assert load(tmp_path / "v2")[0].manifest.has_report
    assert "remove next_gap_hours" in (tmp_path / "v2" / REPORT_FILE).read_text()


def test_what_cannot_be_done_is_told_and_nothing_written(
    dataset: Dataset,
    without: Dataset,
    teachers: list[OnnxTeacher],
    older: list[OnnxTeacher],
    cp: Path,
    tmp_path: Path,
) -> None:
    copied(cp, tmp_path / "v1")
    out = tmp_path / "v2"
    with pytest.raises(FusionError, match="no behaviour nonsense"):
        remove(Fused.open(tmp_path / "v1"), "nonsense", out, "2", silent)
    with pytest.raises(FusionError, match=f"teachers of {NEW}"):
        add(Fused.open(tmp_path / "v1"), NEW, dataset, older, out, "2", silent)
    with pytest.raises(FusionError, match=f"no behaviour {NEW}"):
        add(Fused.open(tmp_path / "v1"), NEW, without, teachers, out, "2", silent)
    assert not out.exists()
    beside(tmp_path / "v1").write_bytes(b"nothing")
    with pytest.raises(FusionError, match="no readable network"):
        Fused.open(tmp_path / "v1")
    beside(tmp_path / "v1").unlink()
    with pytest.raises(FusionError, match="writes beside an artifact"):
        Fused.open(tmp_path / "v1")


def test_the_network_of_another_artifact_is_refused(
    without: Dataset, older: list[OnnxTeacher], cp: Path, tmp_path: Path
) -> None:
    recipe = _recipe(FORMS["cp"]).model_copy(update={"seed": 2})
    other = copied(cp, tmp_path / "other")
    fuse(without, older, recipe, tmp_path / "artifact", silent, with_report=False)
    beside(tmp_path / "artifact").replace(beside(other))
    with pytest.raises(FusionError, match="the network of another artifact"):
        Fused.open(other)
