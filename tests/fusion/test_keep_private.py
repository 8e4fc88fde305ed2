"""The no-harm rule: what falls behind keeps its teacher in the graph, exactly as it was; all else agrees with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fusion import export
from fusion.errors import FusionError
from fusion.incremental.fused import Fused
from fusion.incremental.update import add, remove
from fusion.keep_private import KeepPrivate, Kept, keep_private
from fusion.material import Material
from fusion.passport import Jury
from fusion.pipeline import fuse
from fusion.recipe import Network, Recipe
from fusion.saved import SavedNetwork, beside
from fusion.search.candidate import Bench
from fusion.steps.distil import Distil
from fusion.steps.prune import PruneFeatures
from fusion.teachers.library import links_of, train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from inference.contract.artifact import PARITY_TOLERANCE
from inference.contract.behaviours import from_link
from inference.contract.passport import Passport
from inference.engine import load

RECIPE = Recipe(
    least_training_rows=0,
    network=Network(bins=2, hidden=8, trunk=6, behaviour=2),
    steps=(Distil(epochs=1), PruneFeatures(share=0.5)),
)
SPECS = (
    TeacherSpec(name="linear", family="logistic", settings={"epochs": 3}),
    TeacherSpec(name="trees", family="boosted", behaviours=("churn_7d", "sessions_7d"), settings={"trees": 12}),
    TeacherSpec(name="sequence", family="gru", behaviours=("return_24h",), settings={"epochs": 1}),
)


def silent(stage: str, done: float, note: str) -> None:
    assert 0.0 <= done <= 1.0


class World(NamedTuple):
    """Players, teachers, and a network that is behind its teachers nearly everywhere."""

    dataset: Dataset
    teachers: list[OnnxTeacher]
    fused: Path
    changes: dict[str, float]

    def judged(self, tolerance: float, teachers: list[OnnxTeacher] | None = None) -> Kept:
        teachers = teachers or self.teachers
        jury = Jury(self.dataset, teachers, Split.VALIDATION)
        return keep_private(KeepPrivate(tolerance=tolerance), jury, self.links(), teachers)

    def links(self) -> NDArray[np.float32]:
        network = SavedNetwork.load(beside(self.fused)).network
        return export.predict_links(network, rows_of(self.dataset, network.encoding.features, Split.VALIDATION))

    def between(self, place: int) -> float:
        """A tolerance that so many behaviours fall behind."""
        lost = sorted(-change for change in self.changes.values())[::-1]
        return 0.5 * (lost[place - 1] + lost[place])


class Private(NamedTuple):
    path: Path
    passport: Passport


def rows_of(dataset: Dataset, names: tuple[str, ...], split: Split) -> NDArray[np.float32]:
    columns = [dataset.feature_names.index(name) for name in names]
    return np.ascontiguousarray(dataset.features[dataset.rows(split)][:, columns])


def answers(path: Path, dataset: Dataset) -> dict[str, NDArray[np.float32]]:
    artifact, engine = load(path)
    predictions = engine.run(rows_of(dataset, artifact.manifest.features, Split.TEST))
    return dict(zip(artifact.manifest.behaviour_names, predictions.T, strict=True))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    dataset = build(simulate(160, seed=3))
    teachers = train(dataset, SPECS, folder / "teachers")
    fuse(dataset, teachers, RECIPE, folder / "fused", silent, with_report=False)
    found = World(dataset, teachers, folder / "fused", {})
    changes = Jury(dataset, teachers, Split.VALIDATION).changes(found.links())
    found.changes.update(zip((one.name for one in dataset.behaviours), changes, strict=True))
    return found


@pytest.fixture(scope="module")
def private(world: World, tmp_path_factory: pytest.TempPathFactory) -> Private:
    """The same, with a tolerance that four behaviours fall behind, to be copied, never changed."""
    path = tmp_path_factory.mktemp("private") / "artifact"
    recipe = RECIPE.model_copy(update={"keep_private": KeepPrivate(tolerance=world.between(4))})
    return Private(path, fuse(world.dataset, world.teachers, recipe, path, silent))


def test_a_private_column_is_the_teachers_and_the_others_keep_every_bit(world: World, private: Private) -> None:
    kept = {one.behaviour: one.teacher for one in private.passport.private}
    assert 0 < len(kept) < len(world.dataset.behaviours)
    before, after = answers(world.fused, world.dataset), answers(private.path, world.dataset)
    rows = world.dataset.rows(Split.TEST)
    for behaviour in world.dataset.behaviours:
        if behaviour.name not in kept:
            np.testing.assert_array_equal(after[behaviour.name], before[behaviour.name])
            continue
        teacher = next(one for one in world.teachers if one.card.name == kept[behaviour.name])
        links = links_of(teacher, world.dataset, rows)[:, teacher.card.behaviour_names.index(behaviour.name)]
        expected = from_link(links, behaviour)
        error = np.abs(after[behaviour.name] - expected) / np.maximum(1.0, np.abs(expected))
        assert error.max() <= PARITY_TOLERANCE
        assert not np.array_equal(after[behaviour.name], before[behaviour.name])


def test_the_threshold_decides(world: World) -> None:
    worst = min(world.changes, key=world.changes.__getitem__)
    lost = -world.changes[worst]
    assert world.judged(1.0001 * lost).records == ()
    kept = world.judged(0.9999 * lost)
    assert [one.behaviour for one in kept.records] == [worst]
    assert kept.records[0].fused_change == pytest.approx(-lost)
    assert [branch.behaviours for branch in kept.branches] == [(worst,)]
    nothing = world.judged(1.0)
    assert (nothing.branches, nothing.records) == ((), ())
    assert nothing.decisions[0].startswith("kept private: nothing")


def test_a_teacher_of_sessions_cannot_be_a_branch_and_that_is_said(world: World) -> None:
    sequence = [one for one in world.teachers if one.card.name == "sequence"]
    dataset = world.dataset.of_behaviour("return_24h")
    jury = Jury(dataset, sequence, Split.VALIDATION)
    always_wrong = -np.nan_to_num(dataset.labels[jury.rows])
    kept = keep_private(KeepPrivate(tolerance=0.001), jury, always_wrong, sequence)
    assert (kept.branches, kept.records) == ((), ())
    assert "not kept private: return_24h" in kept.decisions[0]
    assert "reads sessions one by one" in kept.decisions[0]


def test_the_passport_counts_the_branches_and_names_them(world: World, private: Private) -> None:
    artifact, _ = load(private.path)
    assert artifact.passport == private.passport
    network = SavedNetwork.load(beside(private.path)).network
    names = {one.teacher for one in private.passport.private}
    cards = [one.card for one in world.teachers if one.card.name in names]
    cost = private.passport.fused_cost
    assert cost.parameters == network.parameter_count + sum(card.parameters for card in cards)
    assert cost.file_bytes == len(artifact.model)
    parts = {layer.layer: layer for layer in private.passport.layers}
    for card in cards:
        assert parts[f"private {card.name}"].parameters == card.parameters
        assert parts[f"private {card.name}"].file_bytes > 0
        assert parts[f"private {card.name}"].cpu_share > 0
    assert private.passport.stages[-1].stage == "keep private"
    assert private.passport.stages[-1].mean_change > private.passport.stages[-2].mean_change
    for record in private.passport.private:
        said = f"kept private: {record.behaviour} by {record.teacher}: {record.reason}"
        assert said in artifact.passport.decisions


def test_what_the_network_pruned_is_read_by_whom_needs_it(world: World, private: Private) -> None:
    served = load(private.path)[0].manifest.features
    own = SavedNetwork.load(beside(private.path)).network.encoding.features
    names = {one.teacher for one in private.passport.private}
    read = {name for one in world.teachers if one.card.name in names for name in one.card.features}
    assert served[: len(own)] == own
    assert set(served) == {*own, *read}
    assert len(served) > len(own)


def test_the_report_says_what_was_kept_private_and_why(private: Private) -> None:
    text = (private.path / "report.html").read_text()
    assert "Kept private, and why" in text
    for one in private.passport.private:
        assert f"<dt>{one.behaviour}</dt><dd><strong>{one.teacher}</strong>: {one.reason}</dd>" in text


def test_a_private_behaviour_can_be_removed_and_the_rest_keeps_every_bit(
    world: World, private: Private, tmp_path: Path
) -> None:
    before = answers(private.path, world.dataset)
    gone = [one.behaviour for one in private.passport.private]
    path = private.path
    for number, name in enumerate(gone):
        passport = remove(Fused.open(path), name, tmp_path / f"v{number}", str(number), silent)
        path = tmp_path / f"v{number}"
        after = answers(path, world.dataset)
        assert set(after) == set(before) - set(gone[: number + 1])
        for left, values in after.items():
            np.testing.assert_array_equal(values, before[left])
        assert [one.behaviour for one in passport.private] == gone[number + 1 :]
    network = SavedNetwork.load(beside(path)).network
    assert load(path)[0].manifest.features == network.encoding.features
    assert passport.fused_cost.parameters == network.parameter_count


def test_a_private_behaviour_is_not_refreshed_but_another_can_stand_beside_it(
    world: World, private: Private, tmp_path: Path
) -> None:
    name = private.passport.private[0].behaviour
    shutil.copytree(private.path, tmp_path / "v1")
    shutil.copy(beside(private.path), beside(tmp_path / "v1"))
    with pytest.raises(FusionError, match=f"behaviour {name}: got one that is kept private") as refused:
        add(Fused.open(tmp_path / "v1"), name, world.dataset, world.teachers, tmp_path / "v2", "2", silent)
    assert "--as" in refused.value.fix
    before = answers(private.path, world.dataset)
    add(
        Fused.open(tmp_path / "v1"), name, world.dataset, world.teachers, tmp_path / "v2", "2", silent, called="another"
    )
    after = answers(tmp_path / "v2", world.dataset)
    assert set(after) == {*before, "another"}
    for left, values in before.items():
        np.testing.assert_array_equal(values, after[left])


def test_a_search_counts_what_is_kept_private(world: World, private: Private) -> None:
    recipe = Recipe.model_validate(private.passport.recipe)
    material = Material.prepare(world.dataset, world.teachers, recipe, lambda *_: None)
    bench = Bench.prepare(material, recipe, lambda *_: None)
    fused, found = bench.measure(RECIPE, lambda *_: None), bench.measure(recipe, lambda *_: None)
    assert found.worst_change > fused.worst_change
    assert found.parameters > fused.parameters
    assert found.file_bytes > fused.file_bytes


def test_without_the_rule_nothing_is_private(world: World) -> None:
    artifact, _ = load(world.fused)
    assert artifact.passport.private == ()
    assert not any("kept private" in said for said in artifact.passport.decisions)
    older = {key: value for key, value in artifact.passport.model_dump(mode="json").items() if key != "private"}
    assert Passport.model_validate(older) == artifact.passport
