"""Shrinks the large embedding tables of a teacher: each becomes a tensor train in the same graph, never built again.

tables found → singular values of every bond → ranks by error or by budget → cores in the place of the table → judged
on the validation players → a teacher like any other, with its card

A table of heroes, maps or items is most of a model that has one. Whether its rows have enough in common for a short
train is up to the table: the report says what each one lost, and a table whose train would be no smaller stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from fusion.errors import FusionError
from fusion.lowrank.embedding import LARGE, TrainEmbedding
from fusion.lowrank.table_ranks import TableSpectrum, factors
from fusion.onnx_graph import Graph
from fusion.teachers.library import links_of, qualities
from fusion.teachers.onnx_teacher import FEATURES, LINKS, SEQUENCES, OnnxTeacher
from fusion.telemetry.dataset import Split
from inference.contract.artifact import sha256
from inference.contract.features import SEQUENCE_CHANNELS, SEQUENCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fusion.telemetry.dataset import Dataset

_FLOATS: Final = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_LEAST_ERROR: Final = 1e-5
"""Single precision holds little more."""
_ALL_RANKS_1: Final = 2.0
"""A bound that nothing breaks."""
_BISECTIONS: Final = 40
_CHUNK_ROWS: Final = 65_536


class EmbeddingShrinking(BaseModel):
    """How small, or how exact; one of the two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relative_error: float | None = Field(
        default=None, ge=_LEAST_ERROR, lt=1, description="at most, of every table: |train - table| / |table|"
    )
    budget_numbers: PositiveInt | None = Field(default=None, description="that all large tables may store together")
    least_rows: PositiveInt = Field(default=LARGE, description="of a table that is worth it")
    cores: int = Field(default=3, ge=2, le=3, description="of a train")

    @model_validator(mode="after")
    def _one_of_two(self) -> EmbeddingShrinking:
        if (self.relative_error is None) == (self.budget_numbers is None):
            msg = "give relative_error or budget_numbers, one of the two"
            raise ValueError(msg)
        return self


class ShrunkTable(BaseModel):
    """What became of one table.

    Attributes:
        name: in the teacher's graph.
        shape: (rows, columns).
        ranks: of the train's bonds; None where the table stayed, because its train would be no smaller.
        numbers: that it stores now.
        relative_error: |train - table| / |table|, measured over all rows; 0 of a table that stayed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    shape: tuple[int, int]
    ranks: tuple[int, ...] | None
    numbers: int
    relative_error: float


class EmbeddingReport(BaseModel):
    """What shrinking the tables of a teacher came to.

    Attributes:
        tables: all large ones.
        file_bytes: of the ONNX file before and after.
        quality: behaviour → AUC or R² on the validation players, before and after.
        largest_change: of any answer on the validation players, link scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: tuple[ShrunkTable, ...]
    file_bytes: tuple[int, int]
    quality: dict[str, tuple[float, float]]
    largest_change: float


@dataclass(frozen=True, slots=True)
class ShrunkTeacher:
    """A teacher whose large tables are tensor trains, and what that cost."""

    teacher: OnnxTeacher
    report: EmbeddingReport


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    name: str
    values: NDArray[np.float64]
    element_type: int
    width: tuple[int, ...]
    spectrum: TableSpectrum

    def ranks(self, relative_error: float) -> tuple[int, ...] | None:
        """Of a train that is smaller than the table."""
        found = self.spectrum.ranks(relative_error)
        return found if self.spectrum.numbers(found) < self.values.size else None

    def numbers(self, relative_error: float) -> int:
        found = self.ranks(relative_error)
        return self.values.size if found is None else self.spectrum.numbers(found)


def shrink_embeddings(teacher: OnnxTeacher, dataset: Dataset, settings: EmbeddingShrinking) -> ShrunkTeacher:
    """Put a tensor train in the place of every large table that a teacher looks rows up in (`Gather` of axis 0).

    Args:
        teacher: whichever its framework.
        dataset: whose validation players judge it.
        settings: how small, or how exact.

    Returns:
        A teacher of the same behaviours, named `<name>_small`, whose card has the tables under "embeddings".

    Raises:
        FusionError: there is no large table, a table is used for something else as well, or the budget is too small.
    """
    model = onnx.load_model_from_string(teacher.model)
    tables = list(_tables(model, teacher.card.name, settings))
    if not tables:
        raise FusionError(
            f"teacher {teacher.card.name}",
            got="no table that rows are looked up in",
            expected=f"a Gather of axis 0 from a constant of {settings.least_rows} rows or more",
            fix="Say a smaller least_rows; networks without tables are made smaller by fusion.compress.",
        )
    allowed = settings.relative_error
    if allowed is None:
        assert settings.budget_numbers is not None
        allowed = _error_within(tables, settings.budget_numbers)
    trains, told = {}, []
    for table in tables:
        ranks, error = table.ranks(allowed), 0.0
        if ranks is not None:
            train = TrainEmbedding.from_table(table.values, table.width, ranks)
            trains[table.name], error = (train, table.element_type), _relative_error(train, table.values)
        rows, columns = table.values.shape
        told.append(
            ShrunkTable(
                name=table.name,
                shape=(rows, columns),
                ranks=ranks,
                numbers=table.numbers(allowed),
                relative_error=error,
            )
        )
    content = _rewritten(model, trains, teacher) if trains else teacher.model
    return _judged(teacher, content, tuple(told), dataset)


def _tables(model: onnx.ModelProto, name: str, settings: EmbeddingShrinking) -> Iterator[_Table]:
    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type in _FLOATS}
    looked_up = dict.fromkeys(node.input[0] for node in model.graph.node if _is_lookup(node))
    for table in looked_up:
        if table not in stored or len(stored[table].dims) != 2 or stored[table].dims[0] < settings.least_rows:
            continue
        other = next((n for n in model.graph.node if table in n.input and not _is_lookup(n)), None)
        if other is not None:
            raise FusionError(
                f"teacher {name}, table {table}",
                got=f"{other.op_type} that reads all of it",
                expected="a table that rows are looked up in, and nothing else",
                fix="Untie the weights before exporting, or say a larger least_rows to leave it as it is.",
            )
        values = numpy_helper.to_array(stored[table]).astype(np.float64)
        width = factors(values.shape[1], settings.cores)
        yield _Table(table, values, stored[table].data_type, width, TableSpectrum.of(values, width))


def _is_lookup(node: onnx.NodeProto) -> bool:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    return node.op_type == "Gather" and not node.domain and axis == 0


def _error_within(tables: list[_Table], budget: int) -> float:
    """The least error, alike for all tables, at which they store no more than a budget together."""

    def numbers(error: float) -> int:
        return sum(table.numbers(error) for table in tables)

    low, high = float(np.log(_LEAST_ERROR)), float(np.log(_ALL_RANKS_1))
    least = numbers(_ALL_RANKS_1)
    if least > budget:
        raise FusionError("budget_numbers", got=budget, expected=f"at least {least:,}: all ranks are 1 there")
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if numbers(float(np.exp(middle))) <= budget else (middle, high)
    return float(np.exp(high))


def _relative_error(train: TrainEmbedding, table: NDArray[np.float64]) -> float:
    square = 0.0
    with torch.no_grad():
        for start in range(0, len(table), _CHUNK_ROWS):
            part = table[start : start + _CHUNK_ROWS]
            found = train(torch.arange(start, start + len(part))).double().numpy()
            square += float(np.square(found - part).sum())
    return float(np.sqrt(square / max(float(np.square(table).sum()), np.finfo(np.float64).tiny)))


def _rewritten(model: onnx.ModelProto, trains: dict[str, tuple[TrainEmbedding, int]], teacher: OnnxTeacher) -> bytes:
    """The same graph with look-ups core by core."""
    graph, prefix, card = Graph("teacher"), "shrunk/", teacher.card
    shapes: dict[str, tuple[int, ...]] = {
        FEATURES: (len(card.features),),
        SEQUENCES: (SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)),
    }
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in stored]

    def rewrite(node: onnx.NodeProto) -> str | None:
        found = trains.get(node.input[0].removeprefix(prefix)) if _is_lookup(node) else None
        return None if found is None else _look_up(graph, found[0], found[1], node.input[1])

    feeds = {name: graph.input(name, shapes[name]) for name in inputs}
    links = graph.include(model, feeds, prefix=prefix, rewrite=rewrite)[LINKS]
    return graph.serialise(links, LINKS, len(card.behaviours))


def _look_up(graph: Graph, train: TrainEmbedding, element_type: int, index: str) -> str:
    """`Gather` of axis 0 from the table: numbers of any shape, below 0 from its end, outside of it an error."""

    def whole(*numbers: int) -> str:
        return graph.constant(numbers, np.int64)

    given = graph.op("Cast", index, to=TensorProto.INT64)
    flat = graph.op("Reshape", given, whole(-1))
    flat = graph.op("Where", graph.op("Less", flat, whole(0)), graph.op("Add", flat, whole(train.rows)), flat)
    outside = graph.op("Or", graph.op("Less", flat, whole(0)), graph.op("Less", whole(train.rows - 1), flat))
    # A train has a few rows more than its table, and finds some row for any number: only ONNX Runtime can refuse.
    refused = graph.op("Where", outside, whole(train.capacity), flat)
    rows = graph.op("Cast", train.add_to(graph, refused), to=element_type)
    shape = graph.op("Concat", graph.op("Shape", given), whole(train.columns), axis=0)
    return graph.op("Reshape", rows, shape)


def _judged(teacher: OnnxTeacher, content: bytes, tables: tuple[ShrunkTable, ...], dataset: Dataset) -> ShrunkTeacher:
    card, rows = teacher.card, dataset.rows(Split.VALIDATION)
    saved = sum(table.shape[0] * table.shape[1] - table.numbers for table in tables)
    small = card.model_copy(
        update={
            "name": f"{card.name}_small",
            "parameters": card.parameters - saved,
            "settings": {**card.settings, "embeddings": [table.model_dump(mode="json") for table in tables]},
            "onnx_sha256": sha256(content),
        }
    )
    shrunk = OnnxTeacher(content, small)
    before, after = (qualities(each, dataset, rows) for each in (teacher, shrunk))
    report = EmbeddingReport(
        tables=tables,
        file_bytes=(len(teacher.model), len(content)),
        quality={name: (before[name], after[name]) for name in before},
        largest_change=float(
            np.max(np.abs(links_of(shrunk, dataset, rows) - links_of(teacher, dataset, rows)), initial=0.0)
        ),
    )
    return ShrunkTeacher(OnnxTeacher(content, small.model_copy(update={"validation_quality": after})), report)
