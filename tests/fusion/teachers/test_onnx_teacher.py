"""The one teacher at use time: what it refuses, and that it cuts large inputs into pieces unseen."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.errors import FusionError
from fusion.onnx_graph import Graph
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.teacher import Teacher, TeacherCard
from inference.contract.artifact import sha256
from inference.contract.behaviours import DEFAULT_BEHAVIOURS
from inference.contract.features import FEATURE_VERSION, SEQUENCE_CHANNELS, SEQUENCE_LENGTH

CHURN = DEFAULT_BEHAVIOURS["churn_7d"]


def _card(model: bytes, *features: str, uses_sequences: bool = False) -> TeacherCard:
    return TeacherCard(
        name="plain",
        family="logistic",
        behaviours=(CHURN,),
        features=features,
        uses_sequences=uses_sequences,
        parameters=3,
        seed=0,
        settings={},
        feature_version=FEATURE_VERSION,
        data_name="test",
        data_sha256="",
        synthetic=True,
        validation_quality={},
        onnx_sha256=sha256(model),
    )


def _linear(output: str = "links") -> bytes:
    graph = Graph("test")
    return graph.serialise(graph.linear(graph.input("features", (2,)), [[1.0, 10.0]], [0.5]), output, 1)


def _newest_present() -> bytes:
    """Of sequences alone: channel 0 of the newest session."""
    graph = Graph("test")
    sequences = graph.input("sequences", (SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)))
    newest = graph.op("Gather", sequences, graph.constant(SEQUENCE_LENGTH - 1, np.int64), axis=1)
    return graph.serialise(graph.op("Gather", newest, graph.constant([0], np.int64), axis=1), "links", 1)


def test_many_rows_are_answered_as_one_by_one() -> None:
    model = _linear()
    teacher: Teacher = OnnxTeacher(model, _card(model, "recency_hours", "tenure_days"))
    rows = np.random.default_rng(0).normal(size=(40_000, 2)).astype(np.float32)
    np.testing.assert_allclose(teacher.links(rows)[:, 0], rows[:, 0] + 10 * rows[:, 1] + 0.5, atol=1e-4)
    assert teacher.links(rows[:0]).shape == (0, 1)


def test_a_teacher_may_read_sequences_alone() -> None:
    model = _newest_present()
    teacher = OnnxTeacher(model, _card(model, uses_sequences=True))
    sequences = np.zeros((3, SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS)), dtype=np.float32)
    sequences[:, -1, 0] = 1, 2, 3
    nothing = np.empty((3, 0), dtype=np.float32)
    assert teacher.links(nothing, sequences)[:, 0].tolist() == [1, 2, 3]
    with pytest.raises(FusionError, match="sequences of teacher plain: got none, expected 3 rows"):
        teacher.links(nothing)
    with pytest.raises(FusionError, match="got 2 rows, expected 3 rows"):
        teacher.links(nothing, sequences[:2])


def test_a_changed_byte_is_refused() -> None:
    model = _linear()
    card = _card(model, "recency_hours", "tenure_days")
    for place in (0, len(model) // 2, len(model) - 1):
        damaged = bytearray(model)
        damaged[place] ^= 1
        with pytest.raises(FusionError, match="as its card says"):
            OnnxTeacher(bytes(damaged), card)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(FusionError, match="expected an ONNX model"):
        OnnxTeacher(b"nothing", _card(b"nothing"))


@pytest.mark.parametrize(
    ("features", "uses_sequences", "output"),
    [
        (("recency_hours",), False, "links"),
        (("recency_hours", "tenure_days"), True, "links"),
        (("recency_hours", "tenure_days"), False, "probabilities"),
        ((), False, "links"),
    ],
)
def test_a_card_of_another_graph_is_refused(features: tuple[str, ...], uses_sequences: bool, output: str) -> None:
    model = _linear(output)
    with pytest.raises(FusionError, match="teacher plain: got inputs"):
        OnnxTeacher(model, _card(model, *features, uses_sequences=uses_sequences))


@pytest.mark.parametrize("shape", [(3, 1), (3,), (3, 2, 1)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    model = _linear()
    teacher = OnnxTeacher(model, _card(model, "recency_hours", "tenure_days"))
    with pytest.raises(FusionError, match=r"features of teacher plain: got shape .*, expected \(rows, 2\)"):
        teacher.links(np.zeros(shape, dtype=np.float32))
