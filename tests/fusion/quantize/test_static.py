"""A network whose products are integers: what its graph holds, what it costs in quality, and when it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fusion import export
from fusion.distill.student import Rows
from fusion.errors import FusionError
from fusion.execution import choose_execution
from fusion.incremental.learner import OneBehaviour
from fusion.network import LAYERS
from fusion.quantize.saturation import saturates
from fusion.quantize.static import Activations
from fusion.quantize.uniform import Range, Uniform
from fusion.saved import SavedNetwork
from fusion.steps.decompose import DECOMPOSE, Cp, Decompose, Tucker
from fusion.steps.distil import DISTIL, FINETUNE, Distil, Finetune
from fusion.steps.prune import PRUNE_WEIGHTS, PruneWeights
from fusion.steps.quantize import QUANTIZE, Quantize
from fusion.steps.step import Work
from fusion.training import Schedule, train
from inference.contract.behaviours import DEFAULT_BEHAVIOURS, Behaviour
from inference.engine import Engine
from tests.support.graphs import optimised_operators
from tests.support.works import features, small_work


def silent(done: float, note: str) -> None:
    assert 0.0 <= done <= 1.0


@pytest.fixture(scope="module")
def decomposed() -> Work:
    """A trained network of factors, to be copied, never changed."""
    torch.manual_seed(0)
    work = small_work()
    DISTIL.run(Distil(epochs=6, batch_rows=128, learning_rate=1e-2), work, silent)
    forms = Decompose(
        input=Tucker(ranks=(6, 3, 5)), trunk=Cp(rank=6), layers=Tucker(ranks=(None, 3, 6)), calibration_rows=500
    )
    DECOMPOSE.run(forms, work, silent)
    FINETUNE.run(Finetune(epochs=2, batch_rows=128, learning_rate=3e-3), work, silent)
    return work


def quantized(work: Work, spec: Quantize) -> tuple[Work, list[str]]:
    changed = deepcopy(work)
    return changed, QUANTIZE.run(spec, changed, silent)


def links(work: Work) -> NDArray[np.float32]:
    return export.predict_links(work.network, features(2000, seed=9))


def test_every_product_of_the_layers_is_one_of_integers(decomposed: Work) -> None:
    work, _ = quantized(decomposed, Quantize(activations=Activations()))
    operators = optimised_operators(export.to_onnx(work.network, work.behaviours))
    products = sum(len(work.network.layer(name).products) for name in LAYERS)
    assert operators["QLinearMatMul"] + operators["QGemm"] == products == 6
    # The read-out has one product per kind of behaviour; nothing else is multiplied in float32.
    assert operators["MatMul"] + operators["Gemm"] + operators["FusedGemm"] == 2
    assert operators["QuantizeLinear"] == 1, "a kernel does not go straight from codes to codes"
    before = optimised_operators(export.to_onnx(decomposed.network, decomposed.behaviours))
    assert not any(name.startswith("Q") for name in before)


@pytest.mark.parametrize("reach", Range)
def test_the_predictions_stay_close_and_parity_is_that_of_the_read_out(decomposed: Work, reach: Range) -> None:
    work, decisions = quantized(decomposed, Quantize(activations=Activations(range=reach)))
    before, after = links(decomposed), links(work)
    assert (np.abs(after - before).mean(axis=0) < 0.1 * before.std(axis=0)).all()
    assert not np.array_equal(after, before)
    rows = features(5000, seed=3)
    rows[:500] *= 1e3
    engine = Engine.from_bytes(export.to_onnx(work.network, work.behaviours))
    # No code differs: what is left are rounding errors of float32 in the read-out.
    assert export.check_parity(export.served(work.network, rows, work.behaviours), engine.run(rows)) < 1e-5
    assert f"range {reach} of 1,500 training rows" in decisions[0]


@pytest.mark.parametrize("reduced", ["auto", True, False])
def test_the_decision_says_what_this_machine_does(decomposed: Work, reduced: bool | str) -> None:
    layers = Uniform.model_validate({"reduce_range": reduced})
    work, decisions = quantized(decomposed, Quantize(layers=layers, activations=Activations()))
    bits = {True: 7, False: 8, "auto": 7 if saturates() else 8}[reduced]
    assert f"reduce_range {str(reduced).lower()}: " in decisions[1]
    assert ("do not saturate" in decisions[1]) == (not saturates())
    assert f"weights have {bits} bits" in decisions[1]
    assert work.network.trunk.integer is not None
    assert {product.largest for product in work.network.trunk.integer} == {2 ** (bits - 1) - 1}


def test_training_makes_up_for_the_rounding(decomposed: Work) -> None:
    """One range for all, cut off hard: training has to find its way around it, and torch and ONNX Runtime agree."""
    work, _ = quantized(decomposed, Quantize(activations=Activations(range=Range.PERCENTILE)))
    wanted = torch.from_numpy(links(decomposed))
    lost = float((torch.from_numpy(links(work)) - wanted).square().mean())
    rows = torch.from_numpy(features(2000, seed=9))
    optimiser = torch.optim.Adam(work.network.parameters(), lr=1e-3)
    for _ in range(30):
        optimiser.zero_grad()
        loss = (work.network(rows) - wanted).square().mean()
        loss.backward()
        optimiser.step()
    assert float((torch.from_numpy(links(work)) - wanted).square().mean()) < 0.8 * lost
    engine = Engine.from_bytes(export.to_onnx(work.network, work.behaviours))
    others = features(5000, seed=4)
    assert export.check_parity(export.served(work.network, others, work.behaviours), engine.run(others)) < 1e-5


def test_what_is_saved_is_what_is_loaded(decomposed: Work, tmp_path: Path) -> None:
    work, _ = quantized(decomposed, Quantize(activations=Activations()))
    with SavedNetwork(work.network, frozenset()).saved(tmp_path / "network.safetensors"):
        pass
    loaded = SavedNetwork.load(tmp_path / "network.safetensors").network
    assert export.to_onnx(loaded, work.behaviours) == export.to_onnx(work.network, work.behaviours)


def test_a_behaviour_comes_and_goes_and_the_others_keep_every_bit(decomposed: Work) -> None:
    work, _ = quantized(decomposed, Quantize(activations=Activations()))
    rows = features(500, seed=5)

    def answers(behaviours: Sequence[Behaviour]) -> NDArray[np.float32]:
        return Engine.from_bytes(export.to_onnx(work.network, behaviours)).run(rows)

    before = answers(work.behaviours)
    work.network.add_behaviour(2, like=0)
    learner = OneBehaviour(work.network, 2)
    examples = Rows(work.training.features, 1.0 - work.training.targets[:, :1])
    more = (*work.behaviours[:2], DEFAULT_BEHAVIOURS["churn_14d"], *work.behaviours[2:])
    schedule = Schedule(epochs=1, batch_rows=128, learning_rate=1e-2, weight_decay=0.0)
    train(learner, more[2:3], examples, examples, schedule, silent, fresh=False)
    learner.release()
    after = answers(more)
    np.testing.assert_array_equal(after[:, [0, 1, 3]], before)
    assert np.corrcoef(after[:, 2], after[:, 0])[0, 1] < 0.9, "it has learnt nothing"
    work.network.keep_behaviours(np.array([1, 3]))
    np.testing.assert_array_equal(answers((more[1], more[3])), before[:, 1:])


def test_integers_are_kept_and_timed_beside_float32(decomposed: Work) -> None:
    work, _ = quantized(decomposed, Quantize(activations=Activations()))
    execution = choose_execution(work.network, work.behaviours, features(64, seed=1), repeats=1)
    assert execution.model == export.to_onnx(work.network, work.behaviours)
    assert execution.float32_us is not None
    assert execution.float32_us > 0
    assert "products of integers" in execution.reason
    assert f"float32 {execution.float32_us:.0f} µs" in execution.reason
    assert work.network.has_integers


def test_ten_calibration_rows_are_refused() -> None:
    with pytest.raises(FusionError, match=r"10 training rows to calibrate on.*at least 256"):
        quantized(small_work(rows=10), Quantize(activations=Activations()))


def test_holes_that_multiplying_would_fill_are_refused(decomposed: Work) -> None:
    work = deepcopy(decomposed)
    PRUNE_WEIGHTS.run(PruneWeights(share=0.3, calibration_rows=500), work, silent)
    with pytest.raises(FusionError, match=r"holes.*keep this layer dense"):
        quantized(work, Quantize(activations=Activations()))
