"""The decompose step: ranks by energy and by budget, tensor trains, the refit, and what it says of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from fusion.distill.student import Student
from fusion.errors import FusionError
from fusion.lowrank.form import Dense
from fusion.lowrank.tensor_train import TensorTrain as Train
from fusion.network import LAYERS
from fusion.recipe import Recipe
from fusion.steps.decompose import Anchored, AnyStackForm, Basis, Cp, Decompose, PerModelSvd, TensorTrain, Tucker
from fusion.steps.distil import Distil, Finetune
from fusion.steps.prune import PruneRanks
from fusion.steps.registry import STEPS
from fusion.steps.step import StepSpec, Work
from fusion.training import MaskedLoss, predict
from fusion.yaml_file import parse
from tests.support.works import small_work

SMALL: dict[str, Any] = {"input": Tucker(ranks=(6, 3, 5)), "trunk": Cp(rank=5), "layers": Tucker(ranks=(None, 2, 4))}


@cache
def _distilled() -> Work:
    torch.manual_seed(0)
    work = small_work()
    _run(work, Distil(epochs=12, batch_rows=128, learning_rate=1e-2))
    return work


@pytest.fixture
def work() -> Work:
    """A network that has learnt its targets."""
    fresh, done = small_work(), _distilled()
    fresh.network.load_state_dict(done.network.state_dict())
    return fresh


def _run(work: Work, *specs: StepSpec) -> list[str]:
    said = []
    for spec in specs:
        said += STEPS[spec.model_dump()["step"]].run(spec, work, lambda *_: None)
    return said


def _loss(work: Work) -> float:
    links = torch.from_numpy(predict(Student(work.network), work.validation))
    return float(MaskedLoss(work.behaviours, work.training.targets)(links, work.validation.targets))


@pytest.mark.parametrize("budget", [500, 700, 900, 1200])
@pytest.mark.parametrize("train", [False, True])
def test_the_network_stays_within_its_budget_and_uses_it(work: Work, budget: int, train: bool) -> None:
    forms: dict[str, Any] = (
        {**SMALL, "input": TensorTrain(ranks=(6, 5)), "layers": TensorTrain(ranks=(2, 4))} if train else SMALL
    )
    said = _run(work, Decompose(budget_parameters=budget, calibration_rows=500, **forms))
    assert 0.85 * budget < work.network.parameter_count <= budget
    assert any(f"to fit {budget:,} parameters" in sentence for sentence in said)


def test_a_larger_budget_answers_better_before_any_training(work: Work) -> None:
    tight, wide = small_work(), work
    tight.network.load_state_dict(work.network.state_dict())
    _run(tight, Decompose(budget_parameters=450, calibration_rows=500))
    _run(wide, Decompose(budget_parameters=1000, calibration_rows=500))
    assert _loss(wide) < _loss(tight)


def test_an_impossible_budget_is_refused_with_the_least_there_is(work: Work) -> None:
    with pytest.raises(FusionError, match=r"budget of the low-rank tensors.*at least"):
        _run(work, Decompose(budget_parameters=100, calibration_rows=500))


def test_energy_chooses_the_ranks_and_keeps_dense_what_would_grow(work: Work) -> None:
    said = _run(work, Decompose(energy=0.9, calibration_rows=500, **SMALL))
    assert any("keep 90.00% of the spectrum" in sentence for sentence in said)
    assert any("stand out from noise" in sentence and "layers (" in sentence for sentence in said)
    assert work.network.parameter_count < _distilled().network.parameter_count
    full = small_work()
    said = _run(full, Decompose(energy=0.999999, calibration_rows=500, **SMALL))
    assert sum("kept dense: no" in sentence for sentence in said) == 3
    assert all(isinstance(full.network.layer(name).form(), Dense) for name in LAYERS)


def test_trains_are_a_form_whose_components_can_be_pruned(work: Work) -> None:
    forms: dict[str, Any] = {
        "input": TensorTrain(ranks=(8, 6)),
        "trunk": TensorTrain(ranks=(6,)),
        "layers": TensorTrain(ranks=(3, 6)),
    }
    _run(work, Decompose(calibration_rows=500, **forms))
    assert all(isinstance(work.network.layer(name).form(), Train) for name in LAYERS)
    before, parameters = _loss(work), work.network.parameter_count
    _run(work, Finetune(epochs=3, batch_rows=128, learning_rate=3e-3))
    assert _loss(work) < before
    said = _run(work, PruneRanks(share=0.3, calibration_rows=500))
    assert any("components of bond 1" in sentence for sentence in said)
    assert work.network.parameter_count < parameters
    assert np.isfinite(_loss(work))


STACKS: list[AnyStackForm] = [Basis(rank=3), Basis(rank=2, shared="out"), PerModelSvd(rank=2), Anchored(rank=1)]


@pytest.mark.parametrize("form", STACKS, ids=lambda form: f"{form.form} {getattr(form, 'shared', '')}")
def test_every_form_of_the_behaviours_layers_is_chosen_refitted_and_trained(work: Work, form: AnyStackForm) -> None:
    forms: dict[str, Any] = {**SMALL, "layers": form}
    given, refitted, budget, energy = (small_work() for _ in range(4))
    for each in (given, refitted, budget, energy):
        each.network.load_state_dict(work.network.state_dict())
    said = _run(given, Decompose(calibration_rows=500, **forms))
    assert any(sentence.startswith(f"layers: {form.described} keeps") for sentence in said)
    shape = given.network.layers.shape
    assert given.network.layers.kept - given.network.layers.bias.kept == form.numbers(shape) < np.prod(shape)
    costs = _run(refitted, Decompose(calibration_rows=500, refit_sweeps=2, **forms))
    (cost,) = (sentence for sentence in costs if sentence.startswith("layers: "))
    before, after = (float(share.rstrip("%")) for share in cost.partition("cost of the error ")[2].split(" → "))
    assert after < before
    assert _loss(refitted) < _loss(given)
    _run(budget, Decompose(budget_parameters=650, calibration_rows=500, **forms))
    assert 0.85 * 650 < budget.network.parameter_count <= 650
    _run(energy, Decompose(energy=0.9, calibration_rows=500, **forms))
    before = _loss(given)
    _run(given, Finetune(epochs=3, batch_rows=128, learning_rate=3e-3))
    assert _loss(given) < before


@pytest.mark.parametrize("form", STACKS, ids=lambda form: f"{form.form} {getattr(form, 'shared', '')}")
def test_a_single_behaviour_has_every_form_too(work: Work, form: AnyStackForm) -> None:
    work.network.keep_behaviours(np.array([1]))
    before = work.network.layers.tensor()
    _run(work, Decompose(layers=form, calibration_rows=500, refit_sweeps=1))
    after = work.network.layers.tensor()
    assert np.linalg.norm(after - before) < 0.9 * np.linalg.norm(before)


@pytest.mark.parametrize("metric", ["two_sided", "plain"])
def test_refitting_helps_before_any_training(work: Work, metric: str) -> None:
    plain = small_work()
    plain.network.load_state_dict(work.network.state_dict())
    _run(plain, Decompose.model_validate({"metric": metric, "calibration_rows": 1500, **SMALL}))
    said = _run(
        work, Decompose.model_validate({"metric": metric, "calibration_rows": 1500, "refit_sweeps": 2, **SMALL})
    )
    assert sum("refit: cost of the error" in sentence for sentence in said) == 3
    assert _loss(work) < _loss(plain)


def test_refitted_networks_have_the_same_arrays_as_others(work: Work) -> None:
    plain = small_work()
    _run(plain, Decompose(calibration_rows=500, **SMALL))
    _run(work, Decompose(calibration_rows=500, refit_sweeps=1, **SMALL))
    shapes = [[tuple(w.array.shape) for w in each.network.weights()] for each in (plain, work)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{step: decompose, budget_parameter: 9}", "'budget_parameter'; did you mean 'budget_parameters'"),
        ("{step: decompose, energy: 1.5}", "energy"),
        (
            "{step: decompose, calibration_rows: 10}",
            "calibration_rows: got 10, expected .* or equal to 64",
        ),
        ("{step: decompose, input: {form: tensor_train, ranks: [2]}}", "tensor_train has 1 ranks; expected 2"),
        ("{step: decompose, input: {form: tensortrain, ranks: [2, 3]}}", "'tensortrain'.*'tensor_train'"),
        ("{step: decompose, trunk: {form: basis, rank: 2}}", "'basis'.*'tucker', 'cp', 'tensor_train'"),
        ("{step: decompose, layers: {form: basis, shared: inputs, rank: 2}}", "shared: got 'inputs'.*'in' or 'out'"),
        ("{step: decompose, trunk: {form: tucker, ranks: [2, 3, 4]}}", "tucker has 3 ranks; expected 2"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(FusionError, match=message):
        parse(f"steps: [{{step: distil, epochs: 1}}, {text}]", Recipe, where="recipe.yaml")
