"""One teacher, made smaller: every torch family, within its budget, near its answers, a teacher like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from pydantic import JsonValue

from fusion.compress import Compression, compress, prune
from fusion.errors import FusionError
from fusion.lowrank.tower import LowRankTower
from fusion.quantize.uniform import Uniform
from fusion.teachers.folder import load
from fusion.teachers.library import links_of, train, write
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.reading import read_network
from fusion.teachers.specs import TeacherSpec
from fusion.teachers.teacher import Task
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from fusion.training import predict

if TYPE_CHECKING:
    from pathlib import Path

BEHAVIOURS = ("churn_7d", "return_24h", "playtime_7d_hours")
SETTINGS: dict[str, dict[str, JsonValue]] = {
    "gru": {"width": 16, "hidden": [16], "epochs": 3},
    "tcn": {"width": 12, "hidden": [16], "epochs": 3},
    "mlp": {"hidden": [64, 48], "epochs": 3},
    "logistic": {"epochs": 3},
}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(250, seed=7))


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxTeacher]:
    torch.set_num_threads(1)
    specs = [
        TeacherSpec(name=f"a_{family}", family=family, behaviours=BEHAVIOURS, settings=settings)
        for family, settings in SETTINGS.items()
    ]
    specs.append(TeacherSpec(name="trees", family="boosted", behaviours=("churn_7d",), settings={"trees": 5}))
    found = train(dataset, specs, tmp_path_factory.mktemp("teachers"))
    return {teacher.card.family: teacher for teacher in found}


@pytest.mark.parametrize("family", SETTINGS)
def test_a_network_is_read_back_from_its_file_and_has_a_dense_twin(
    dataset: Dataset, teachers: dict[str, OnnxTeacher], family: str
) -> None:
    teacher = teachers[family]
    network, inputs = read_network(teacher)
    assert sum(p.numel() for p in network.parameters()) == teacher.card.parameters
    rows = dataset.rows(Split.TEST)[:100]
    task = Task(dataset, teacher.card.behaviours, rows, rows)
    expected = links_of(teacher, dataset, rows)
    np.testing.assert_allclose(predict(network, inputs.own(task, rows)), expected, rtol=1e-4, atol=1e-4)
    tower = LowRankTower.from_network(network)
    assert tower.parameter_count == teacher.card.parameters
    np.testing.assert_allclose(predict(tower, inputs.own(task, rows)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "share"), [("gru", 0.4), ("tcn", 0.4), ("mlp", 0.4), ("logistic", 0.9)])
def test_every_torch_family_is_compressed_within_its_budget(
    dataset: Dataset, teachers: dict[str, OnnxTeacher], family: str, share: float, tmp_path: Path
) -> None:
    teacher = teachers[family]
    budget = int(share * teacher.card.parameters)
    small = compress(
        teacher, dataset, Compression(budget_parameters=budget, epochs=4, calibration_rows=256, label_share=0.0)
    )
    assert small.card.parameters <= budget
    assert small.card.name == f"a_{family}_small"
    assert small.card.behaviours == teacher.card.behaviours
    rows = dataset.rows(Split.TEST)
    was, now = (links_of(each, dataset, rows) for each in (teacher, small))
    explained = 1.0 - ((was - now) ** 2).mean(axis=0) / was.var(axis=0)
    assert explained.min() > 0.5
    write(small, tmp_path)
    assert load(tmp_path)[0].card == small.card


def test_fine_tuning_is_reproducible_and_fewer_bits_make_a_smaller_file(
    dataset: Dataset, teachers: dict[str, OnnxTeacher]
) -> None:
    settings = Compression(budget_parameters=3000, epochs=1, calibration_rows=128)
    first, second = (compress(teachers["mlp"], dataset, settings) for _ in range(2))
    assert first.model == second.model
    rounded = compress(teachers["mlp"], dataset, settings.model_copy(update={"quantize": Uniform(bits=4)}))
    assert len(rounded.model) < len(first.model)


def test_units_of_the_state_can_be_pruned(dataset: Dataset, teachers: dict[str, OnnxTeacher]) -> None:
    rows = dataset.rows(Split.TEST)[:50]
    for family in ("gru", "tcn"):
        teacher = teachers[family]
        network, inputs = read_network(teacher)
        tower = LowRankTower.from_network(network)
        (units,) = tower.units()
        tower.keep(units, np.arange(units.count - 4))
        assert tower.encoder is not None
        assert tower.encoder.width == units.count
        assert tower.parameter_count < teacher.card.parameters
        task = Task(dataset, teacher.card.behaviours, rows, rows)
        assert np.isfinite(predict(tower, inputs.own(task, rows))).all()


@pytest.mark.parametrize("family", ["gru", "tcn"])
def test_units_that_nobody_reads_cost_nothing_and_go_first(
    dataset: Dataset, teachers: dict[str, OnnxTeacher], family: str
) -> None:
    rows = dataset.rows(Split.TRAIN)[:300]
    network, inputs = read_network(teachers[family])
    tower = LowRankTower.from_network(network)
    (units,) = tower.units()
    silent = np.array([1, 5])
    readers = [layer for name, layer in tower.layers().items() if name in ("state", "recur") or name[-1] in "1234"]
    with torch.no_grad():
        for layer in readers:
            if layer.shape[-1] == units.count and not any(layer is each for each in tower.dense):
                ((weight, axis),) = layer.mode_slices(len(layer.shape) - 1)
                weight.array.index_fill_(axis, torch.from_numpy(silent), 0.0)
    examples = inputs.own(Task(dataset, teachers[family].card.behaviours, rows, rows), rows)
    costs = tower.unit_costs(tower.statistics(examples))
    assert not costs[silent].any()
    assert np.delete(costs, silent).all()
    before = predict(tower, examples)
    prune(tower, examples, share=2 / units.count)
    assert tower.encoder is not None
    assert tower.encoder.width == units.count
    np.testing.assert_allclose(predict(tower, examples), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["gru", "tcn"])
def test_pruned_and_decomposed_is_still_a_teacher(
    dataset: Dataset, teachers: dict[str, OnnxTeacher], family: str
) -> None:
    settings = Compression(budget_parameters=900, prune_units=0.25, epochs=2, calibration_rows=128)
    small = compress(teachers[family], dataset, settings)
    assert small.card.parameters <= 900
    assert len(small.model) < len(teachers[family].model)
    assert small.card.settings["compression"] == settings.model_dump(mode="json")


def test_trees_and_impossible_budgets_are_refused(dataset: Dataset, teachers: dict[str, OnnxTeacher]) -> None:
    with pytest.raises(FusionError, match=r"trees of family boosted.*gru, tcn, mlp and logistic"):
        compress(teachers["boosted"], dataset, Compression(budget_parameters=100))
    with pytest.raises(FusionError, match="at least"):
        compress(teachers["gru"], dataset, Compression(budget_parameters=10, calibration_rows=64))
