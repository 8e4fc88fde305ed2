"""Rivals of a fused network on a small simulated world: real teachers, real networks, one artifact with them."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fusion.baselines import BEST_TEACHERS, SEPARATE, divided, rivals
from fusion.cli import app
from fusion.distill.hints import Hints
from fusion.evaluate import quality
from fusion.material import Material
from fusion.passport import Jury
from fusion.pipeline import build as fused
from fusion.recipe import Network, Preset, Recipe, preset
from fusion.steps.decompose import Cp, Decompose, Tucker
from fusion.steps.distil import Distil, Finetune
from fusion.steps.prune import PruneNeurons, PruneWeights
from fusion.steps.quantize import Quantize
from fusion.teachers.library import links_of, train, write
from fusion.teachers.specs import TeacherSpec
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from inference.contract.passport import Passport
from inference.engine import load

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydantic import JsonValue

    from fusion.teachers.onnx_teacher import OnnxTeacher

NAMES = ("churn_7d", "next_session_long", "sessions_7d")
DISTIL = Distil(epochs=3, batch_rows=256, learning_rate=5e-3)
RECIPE = Recipe(
    least_training_rows=0,
    network=Network(bins=4, hidden=32, trunk=16, behaviour=4),
    steps=(
        DISTIL,
        Decompose(input=Tucker(ranks=(8, 4, 8)), trunk=Cp(rank=8), layers=Tucker(ranks=(None, 4, 8))),
        Finetune(epochs=4, batch_rows=256, learning_rate=5e-3),
    ),
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    whole = build(simulate(150, seed=3))
    columns = [[behaviour.name for behaviour in whole.behaviours].index(name) for name in NAMES]
    return replace(
        whole,
        behaviours=tuple(whole.behaviours[column] for column in columns),
        labels=np.ascontiguousarray(whole.labels[:, columns]),
        censored={name: whole.censored[name] for name in NAMES},
    )


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[OnnxTeacher]:
    settings: dict[str, JsonValue] = {"trees": 6, "leaves": 5, "least_rows_per_leaf": 20}
    specs = (
        TeacherSpec(name="linear", family="logistic", settings={"epochs": 3}),
        TeacherSpec(name="linear_again", family="logistic", behaviours=NAMES[:1], settings={"epochs": 1}),
        TeacherSpec(name="trees", family="boosted", behaviours=NAMES[:2], settings=settings),
    )
    return train(dataset, specs, tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="module")
def material(dataset: Dataset, teachers: list[OnnxTeacher]) -> Material:
    return Material.prepare(dataset, teachers, RECIPE, lambda *_: None)


def silent(_stage: str, _done: float, _note: str) -> None:
    pass


def test_they_stand_in_the_passport_beside_the_same_fused_network(
    material: Material, dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    heard: list[tuple[str, float, str]] = []
    out = tmp_path / "with"
    passport = fused(material, RECIPE, out, lambda *said: heard.append(said), with_baselines=True, with_report=False)
    without = fused(material, RECIPE, tmp_path / "without", silent, with_report=False)
    assert load(out)[0].manifest.probe == load(tmp_path / "without")[0].manifest.probe
    assert without.baselines == ()
    separate, best = passport.baselines
    assert (separate.name, best.name) == (SEPARATE, BEST_TEACHERS)
    assert 0.6 * passport.fused_cost.parameters < separate.parameters <= passport.fused_cost.parameters
    assert separate.file_bytes > passport.fused_cost.file_bytes, "three graphs, each with nodes of its own"
    rows = dataset.rows(Split.TEST)
    reached = {
        teacher.card.name: {
            behaviour.name: quality(links[:, column], _labels(dataset, behaviour.name, rows), behaviour)
            for column, behaviour in enumerate(teacher.card.behaviours)
        }
        for teacher in teachers
        for links in [links_of(teacher, dataset, rows)]
    }
    names = {max(reached, key=lambda name: reached[name].get(behaviour, -np.inf)) for behaviour in NAMES}
    assert best.parameters == sum(teacher.card.parameters for teacher in teachers if teacher.card.name in names)
    assert best.file_bytes == sum(len(teacher.model) for teacher in teachers if teacher.card.name in names)
    assert (best.mean_change, best.worst_change) == (0.0, 0.0)
    assert all(one.cpu_us_per_lobby > 0 for one in passport.baselines)
    (said,) = (decision for decision in passport.decisions if decision.startswith("separate networks"))
    changes = [float(found) for found in re.findall(r" ([+-]\d\.\d+) with", said)]
    assert len(changes) == len(NAMES)
    assert separate.mean_change == pytest.approx(np.mean(changes), abs=1e-4)
    assert separate.worst_change == pytest.approx(min(changes), abs=1e-4)
    done = [part for stage, part, _ in heard if stage == "baselines"]
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_every_behaviour_is_learnt_for_itself(
    material: Material, dataset: Dataset, teachers: list[OnnxTeacher]
) -> None:
    """Its target alone counts: with the targets of one behaviour spoilt, the others' networks are the same."""
    jury = Jury(dataset, teachers, Split.TEST)
    spoilt = replace(material.targets, training=material.targets.training.copy())
    spoilt.training[:, 0] = np.random.default_rng(0).permutation(spoilt.training[:, 0])
    said = [
        rivals(replace(material, targets=targets), RECIPE, 3_000, jury, lambda *_: None)[1].partition(": ")[2]
        for targets in (material.targets, spoilt)
    ]
    (first, *others), (first_spoilt, *others_spoilt) = (one.split("; ") for one in said)
    assert others == others_spoilt
    change, change_spoilt = (float(one.split()[1]) for one in (first, first_spoilt))
    assert change - change_spoilt > 0.1, "a network that learnt nothing has an AUC of about one half"


def test_too_small_to_divide_is_said_and_the_fused_network_kept(material: Material, tmp_path: Path) -> None:
    # Wide layers with next to no weights left: biases alone take more than a share.
    sizes = Network(bins=1, hidden=200, trunk=100, behaviour=50)
    tiny = Recipe(least_training_rows=0, network=sizes, steps=(Distil(epochs=1), PruneWeights(share=0.999)))
    passport = fused(material, tiny, tmp_path / "artifact", silent, with_baselines=True, with_report=False)
    assert passport.baselines == ()
    assert any(decision.startswith("no separate networks") for decision in passport.decisions)
    load(tmp_path / "artifact")


def test_the_command_asks_for_them_also_where_the_recipe_is_searched_for(
    dataset: Dataset, teachers: list[OnnxTeacher], tmp_path: Path
) -> None:
    dataset.save(tmp_path / "data")
    write(teachers[0], tmp_path / "teachers")
    quick = RECIPE.model_copy(update={"steps": (Distil(epochs=1), Decompose(), Finetune(epochs=1))})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(quick.model_dump(mode="json")))
    (tmp_path / "budget.yaml").write_text("{mean_change: -1, search_minutes: 0.005}")
    arguments = "fuse data teachers --recipe recipe.yaml --auto --budget budget.yaml --baselines --no-report --json"
    with contextlib.chdir(tmp_path):
        said = CliRunner().invoke(app, [*arguments.split(), "--out", "artifact"], catch_exceptions=False)
    passport = Passport.model_validate_json(said.stdout)
    assert passport.search is not None
    assert [one.name for one in passport.baselines] == [SEPARATE, BEST_TEACHERS]
    assert passport.baselines[0].parameters <= passport.fused_cost.parameters


@given(
    behaviours=st.integers(1, 20),
    parameters=st.integers(20, 200_000),
    features=st.integers(1, 60),
    steps=st.sampled_from(
        (
            preset(Preset.FULL).steps,
            (DISTIL.model_copy(update={"hints": Hints()}),),
            (DISTIL, PruneNeurons(share=0.2), Finetune(epochs=2), Decompose(layers=None), PruneWeights(share=0.5)),
            (DISTIL, Decompose(energy=0.9), Finetune(epochs=2), Quantize(), Finetune(epochs=1)),
        )
    ),
)
def test_a_divided_recipe_is_one_and_fits_its_share(
    behaviours: int, parameters: int, features: int, steps: tuple[Distil, ...]
) -> None:
    whole = preset(Preset.FULL).model_copy(update={"steps": steps})
    own = divided(whole, parameters, behaviours, features)
    assert Recipe.model_validate(own.model_dump()) == own
    assert isinstance(own.steps[0], Distil)
    assert own.steps[0].hints is None
    (decompose,) = (spec for spec in own.steps if isinstance(spec, Decompose))
    assert decompose.budget_parameters is not None
    assert behaviours * decompose.budget_parameters <= parameters
    assert None not in (decompose.input, decompose.trunk, decompose.layers)
    assert own.network.bins == whole.network.bins
    assert behaviours * own.network.hidden >= whole.network.hidden
    trained = [spec for spec in whole.steps if isinstance(spec, Finetune)]
    assert [spec for spec in own.steps if isinstance(spec, Finetune)][-len(trained) or -1 :][: len(trained)] == trained
    assert any(isinstance(spec, Finetune) for spec in own.steps[own.steps.index(decompose) :])
    assert [spec for spec in own.steps if isinstance(spec, Quantize)] == [
        spec for spec in whole.steps if isinstance(spec, Quantize)
    ]


def _labels(dataset: Dataset, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.asarray(dataset.labels[rows, NAMES.index(name)])
