"""Every two steps that may follow one another do, on a small problem, and what comes out can be served."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fusion import export
from fusion.distill.student import Student
from fusion.network import LAYERS
from fusion.prune.criteria import Criterion
from fusion.quantize.static import Activations
from fusion.steps.decompose import Anchored, AnyStackForm, Basis, Cp, Decompose, PerModelSvd, Tucker
from fusion.steps.distil import Distil, Finetune
from fusion.steps.prune import PruneFeatures, PruneNeurons, PruneRanks, PruneWeights
from fusion.steps.quantize import Quantize
from fusion.steps.registry import STEPS, check_order
from fusion.steps.step import Family, StepSpec, Work
from fusion.training import MaskedLoss, Schedule, predict
from inference.contract.artifact import PARITY_TOLERANCE
from inference.engine import Engine
from tests.support.works import features, small_work

SPECS: dict[str, Any] = {
    "distil": Distil(epochs=6, batch_rows=128, learning_rate=1e-2),
    "finetune": Finetune(epochs=2, batch_rows=128, learning_rate=3e-3),
    "decompose": Decompose(
        input=Tucker(ranks=(6, 3, 5)), trunk=Cp(rank=6), layers=Tucker(ranks=(None, 3, 6)), calibration_rows=500
    ),
    "prune_neurons": PruneNeurons(share=0.25, calibration_rows=500),
    "prune_features": PruneFeatures(share=0.2, calibration_rows=500),
    "prune_ranks": PruneRanks(share=0.25, calibration_rows=500),
    "prune_weights": PruneWeights(share=0.3, calibration_rows=500),
    "quantize": Quantize(),
}
STACKS: dict[str, AnyStackForm] = {
    "basis of the inputs": Basis(rank=6),
    "basis of the outputs": Basis(rank=3, shared="out"),
    "svd of each": PerModelSvd(rank=2),
    "anchored": Anchored(rank=1),
}
INTEGERS = Quantize(activations=Activations(rows=500))
PAIRS = [(earlier, later) for earlier, step in STEPS.items() for later in sorted(step.precedes)]


def orders() -> list[tuple[str, ...]]:
    """For every pair the shortest order that is valid and has both, one after the other."""
    found = []
    for pair in PAIRS:
        rest = [name for name in pair if name != "distil"]
        # Components exist only after a decomposition.
        needed = ["decompose"] if "prune_ranks" in rest and "decompose" not in rest else []
        found.append(("distil", *needed, *rest))
    return found


def run(work: Work, *specs: StepSpec) -> list[str]:
    said = []
    for spec in specs:
        name = spec.model_dump()["step"]
        told: list[float] = []
        said += STEPS[name].run(spec, work, lambda done, note, told=told: told.append(done))  # type: ignore[misc]
        assert all(0.0 <= done <= 1.0 for done in told)
    return said


def loss(work: Work) -> float:
    criterion = MaskedLoss(work.behaviours, work.training.targets)
    links = torch.from_numpy(predict(Student(work.network), work.validation))
    return float(criterion(links, work.validation.targets))


def test_the_pairs_hold_every_two_families_that_may_follow_one_another() -> None:
    families = {(STEPS[a].family, STEPS[b].family) for a, b in PAIRS}
    rounded_first = {(Family.QUANTIZATION, other) for other in Family if other is not Family.DISTILLATION}
    assert families == {(a, b) for a in Family for b in Family} - rounded_first - {(Family.LOW_RANK, Family.LOW_RANK)}


def check_parity(work: Work) -> None:
    model = export.to_onnx(work.network, work.behaviours)
    rows = np.ascontiguousarray(features(300, seed=9)[:, work.columns])
    parity = export.check_parity(export.served(work.network, rows, work.behaviours), Engine.from_bytes(model).run(rows))
    assert parity <= PARITY_TOLERANCE
    assert np.isfinite(loss(work))


@pytest.mark.parametrize("order", orders(), ids=" ".join)
def test_a_pair_of_steps(order: tuple[str, ...]) -> None:
    check_order(order)
    check_pair(order, SPECS)


@pytest.mark.parametrize("form", STACKS)
@pytest.mark.parametrize("order", [order for order in orders() if "decompose" in order], ids=" ".join)
def test_a_pair_of_steps_in_every_form_of_the_behaviours_layers(order: tuple[str, ...], form: str) -> None:
    check_pair(order, {**SPECS, "decompose": SPECS["decompose"].model_copy(update={"layers": STACKS[form]})})


def check_pair(order: tuple[str, ...], specs: dict[str, Any]) -> None:
    work = small_work()
    said = run(work, *(specs[name] for name in order))
    assert len(said) >= len([name for name in order if name not in ("distil", "finetune")])
    check_parity(work)
    if "prune_weights" in order:
        holes = [weight for weight in work.network.weights() if weight.mask is not None]
        assert holes
        for weight in holes:
            assert weight.mask is not None
            assert not weight.numpy()[weight.mask.numpy() == 0].any(), "training filled a hole"
    if "quantize" in order:
        for weight in work.network.weights():
            assert weight.grid is not None
            array = weight.numpy()
            mask = 1.0 if weight.mask is None else weight.mask.numpy()
            np.testing.assert_allclose(weight.grid.rounded(array) * mask, array, atol=1e-6)


@pytest.mark.parametrize("form", STACKS)
def test_products_of_integers_in_every_form_of_the_behaviours_layers(form: str) -> None:
    work = small_work()
    run(work, SPECS["distil"], Decompose(layers=STACKS[form], calibration_rows=500), INTEGERS)
    assert work.network.layers.integer is not None
    check_parity(work)


@pytest.mark.parametrize(
    "order",
    [
        ("distil", "decompose", "quantize", "finetune"),
        ("distil", "prune_weights", "quantize", "finetune"),
        ("distil", "prune_neurons", "prune_features", "decompose", "prune_ranks", "quantize"),
    ],
    ids=" ".join,
)
def test_products_of_integers_after_every_other_step(order: tuple[str, ...]) -> None:
    work = small_work()
    run(work, *(INTEGERS if name == "quantize" else SPECS[name] for name in order))
    check_parity(work)
    holes = 0
    for name in LAYERS:
        layer = work.network.layer(name)
        assert layer.integer is not None
        for product, matrix in zip(layer.integer, layer.matrices(), strict=True):
            codes = product.codes(matrix)
            assert codes.abs().max() <= product.largest
            assert (codes[matrix == 0] == 0).all(), "a hole has become a number"
            holes += int((matrix == 0).sum())
    assert "prune_weights" not in order or holes  # which layers they are in is for the pruning to say


@pytest.mark.parametrize("criterion", [Criterion.MAGNITUDE, Criterion.TAYLOR])
def test_the_share_is_gone_even_where_most_numbers_are_worth_nothing(criterion: Criterion) -> None:
    work = small_work()
    run(work, SPECS["distil"])
    every = [weight for name in LAYERS for _, weight in work.network.layer(name).weights()]
    with torch.no_grad():
        for weight in every:
            weight.array[: weight.array.shape[0] // 2 + 1] = 0.0
    size = sum(weight.array.numel() for weight in every)
    between = Schedule(epochs=1, batch_rows=128)
    run(work, PruneWeights(share=0.3, criterion=criterion, rounds=2, between=between, calibration_rows=500))
    assert sum(weight.kept for weight in every) == size - int(0.3 * size)


def test_training_after_pruning_makes_up_for_it() -> None:
    work = small_work()
    run(work, SPECS["distil"])
    before = loss(work)
    run(work, PruneNeurons(share=0.5, calibration_rows=500))
    pruned = loss(work)
    run(work, Finetune(epochs=6, batch_rows=128, learning_rate=5e-3))
    assert before < pruned
    assert loss(work) < pruned
