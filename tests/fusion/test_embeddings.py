"""Tables in a studio's own graph: planted trains come back exactly, look-ups mean the same, and the file is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from pydantic import ValidationError

from fusion.embeddings import EmbeddingShrinking, shrink_embeddings
from fusion.errors import FusionError
from fusion.lowrank.embedding import TrainEmbedding
from fusion.teachers.folder import load
from fusion.teachers.importer import import_model
from fusion.teachers.library import links_of, write
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from tests.support.foreign_models import CHURN, TWO, WEIGHTS, card, linear

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.teachers.onnx_teacher import OnnxTeacher

FEATURES = ("sessions_total", "sessions_28d")
ROWS, COLUMNS, RANKS = 13_824, 16, (3, 4)
"""24³ rows: nothing has to be filled up."""


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(150, seed=2))


def _planted(seed: int = 0) -> NDArray[np.float32]:
    rng, bonds = np.random.default_rng(seed), (1, *RANKS, 1)
    cores = [rng.normal(size=(bonds[k], 24, (2, 2, 4)[k], bonds[k + 1])) for k in range(3)]
    return np.asarray(TrainEmbedding(cores, ROWS)(torch.arange(ROWS)).detach().numpy())


def _model(table: NDArray[np.floating], *, tied: bool = False, stride: int = 37) -> bytes:
    """`x` (rows, 2) → two look-ups a row, the first one from the table's end → their sum times weights."""
    rng = np.random.default_rng(9)
    arrays = {
        "table": table,
        "weights": rng.normal(size=(table.shape[1], 1)).astype(table.dtype) / 10,
        "stride": np.array([-stride, stride], dtype=np.int64),
        "axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "stride"], ["index"]),
        helper.make_node("Gather", ["table", "index"], ["both"], axis=0),
        helper.make_node("ReduceSum", ["both", "axis"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "weights"], ["said"]),
        helper.make_node("Cast", ["said"], ["y" if not tied else "y0"], to=TensorProto.FLOAT),
    ]
    if tied:
        nodes.append(helper.make_node("ReduceMax", ["table"], ["most"], keepdims=0))
        nodes.append(helper.make_node("Add", ["y0", "most"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "studio",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


def _teacher(dataset: Dataset, model: bytes) -> OnnxTeacher:
    return import_model("heroes", model, card(FEATURES, CHURN, missing=0), dataset)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_planted_train_is_recovered_and_the_file_is_a_fraction(
    dataset: Dataset, dtype: type[np.floating], tmp_path: Path
) -> None:
    teacher = _teacher(dataset, _model(_planted().astype(dtype)))
    found = shrink_embeddings(teacher, dataset, EmbeddingShrinking(relative_error=1e-4))
    (table,) = found.report.tables
    assert (table.shape, table.ranks) == ((ROWS, COLUMNS), RANKS)
    assert table.relative_error < 1e-5
    assert table.numbers == 24 * (2 * 3 + 3 * 2 * 4 + 4 * 4)
    before, after = found.report.file_bytes
    assert (before, after) == (len(teacher.model), len(found.teacher.model))
    assert before > 50 * after
    assert found.teacher.card.parameters == teacher.card.parameters - ROWS * COLUMNS + table.numbers
    rows = dataset.rows(Split.TEST)
    expected = links_of(teacher, dataset, rows)
    assert expected.std() > 0.1
    np.testing.assert_allclose(links_of(found.teacher, dataset, rows), expected, atol=1e-4 * np.abs(expected).max())
    assert found.report.largest_change < 1e-4 * np.abs(expected).max()
    was, now = found.report.quality["churn_7d"]
    assert abs(was - now) < 1e-3
    assert found.teacher.card.validation_quality == {"churn_7d": now}
    write(found.teacher, tmp_path)
    (again,) = load(tmp_path)
    assert again.card.name == "heroes_small"
    assert again.card.settings["embeddings"] == [table.model_dump(mode="json")]


def test_numbers_outside_the_table_are_refused_as_before(dataset: Dataset) -> None:
    table = _planted()[: ROWS - 5]  # the cores can tell 5 rows more apart than the table has
    teacher = _teacher(dataset, _model(table))
    small = shrink_embeddings(teacher, dataset, EmbeddingShrinking(relative_error=0.05)).teacher
    last = (len(table) - 1) // 37
    inside = np.array([[0, 0], [last, last], [1, 5]], dtype=np.float32)
    np.testing.assert_allclose(small.links(inside), teacher.links(inside), atol=0.5)
    for row in ([0, last + 1], [last + 2, 0], [0, 10**6]):
        for each in (teacher, small):
            with pytest.raises(Exception, match=r"(?i)gather.*out of|out of data bounds"):
                each.links(np.array([row], dtype=np.float32))


def test_the_budget_holds_and_less_of_it_is_less_exact(dataset: Dataset) -> None:
    noisy = _planted() + 0.5 * np.random.default_rng(1).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    teacher = _teacher(dataset, _model(noisy))
    errors = []
    for budget in (60_000, 6_000, 600):
        found = shrink_embeddings(teacher, dataset, EmbeddingShrinking(budget_numbers=budget))
        (table,) = found.report.tables
        assert budget / 3 < table.numbers <= budget
        errors.append(table.relative_error)
    assert errors == sorted(errors)
    bound = EmbeddingShrinking(relative_error=0.6)
    assert shrink_embeddings(teacher, dataset, bound).report.tables[0].relative_error <= 0.6


def test_a_table_without_structure_stays_as_it_is(dataset: Dataset) -> None:
    table = np.random.default_rng(3).normal(size=(ROWS, COLUMNS)).astype(np.float32)
    teacher = _teacher(dataset, _model(table))
    found = shrink_embeddings(teacher, dataset, EmbeddingShrinking(relative_error=0.01))
    assert found.teacher.model == teacher.model
    (told,) = found.report.tables
    assert (told.ranks, told.numbers, told.relative_error) == (None, ROWS * COLUMNS, 0.0)
    assert found.report.largest_change == 0.0


def test_what_cannot_be_shrunk_says_why(dataset: Dataset) -> None:
    exact = EmbeddingShrinking(relative_error=1e-4)
    flat = import_model("flat", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN, missing=0), dataset)
    with pytest.raises(FusionError, match="no table that rows are looked up in"):
        shrink_embeddings(flat, dataset, exact)
    with pytest.raises(FusionError, match="ReduceMax that reads all of it"):
        shrink_embeddings(_teacher(dataset, _model(_planted(), tied=True)), dataset, exact)
    with pytest.raises(FusionError, match="at least"):
        shrink_embeddings(_teacher(dataset, _model(_planted())), dataset, EmbeddingShrinking(budget_numbers=10))
    for wrong in ({}, {"relative_error": 0.1, "budget_numbers": 10}):
        with pytest.raises(ValidationError, match="one of the two"):
            EmbeddingShrinking.model_validate(wrong)
