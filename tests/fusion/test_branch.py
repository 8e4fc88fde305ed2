"""Teachers inside the served graph: of any operator version that fits, several at once, each as exact as alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from fusion import export
from fusion.branch import Branch, served_features, without
from fusion.errors import FusionError
from fusion.onnx_graph import ML_DOMAIN, Graph
from fusion.teachers.onnx_teacher import FEATURES, LINKS, SEQUENCES, OnnxTeacher
from fusion.teachers.teacher import TeacherCard
from inference.contract.artifact import PARITY_TOLERANCE, sha256
from inference.contract.behaviours import DEFAULT_BEHAVIOURS
from inference.contract.features import FEATURE_VERSION
from inference.engine import Engine
from tests.support.works import BEHAVIOURS, features, small_work

OWN = tuple(f"feature_{index}" for index in range(9))


def teacher(
    name: str, reads: tuple[str, ...], predicts: tuple[str, ...], *, opset: int = 18, sequences: bool = False
) -> OnnxTeacher:
    """Links that are a random linear function of what is known of the features."""
    graph = Graph(name)
    value = graph.input(FEATURES, (len(reads),))
    if sequences:
        graph.input(SEQUENCES, (2, 3))
    known = graph.op("Where", graph.op("IsNaN", value), graph.constant(np.zeros(len(reads))), value)
    weight = 0.02 * np.random.default_rng(len(reads)).normal(size=(len(predicts), len(reads)))
    links = graph.linear(known, weight, np.zeros(len(predicts)))
    made = onnx.load_model_from_string(graph.serialise(links, LINKS, len(predicts)))
    for used in made.opset_import:
        used.version = used.version if used.domain == ML_DOMAIN else opset
    model = made.SerializeToString()
    card = TeacherCard(
        name=name,
        family="logistic",
        behaviours=tuple(DEFAULT_BEHAVIOURS[one] for one in predicts),
        features=reads,
        uses_sequences=sequences,
        parameters=weight.size,
        seed=0,
        settings={},
        feature_version=FEATURE_VERSION,
        data_name="drawn",
        data_sha256="0" * 64,
        synthetic=True,
        validation_quality={},
        onnx_sha256=sha256(model),
    )
    return OnnxTeacher(model, card)


def served_rows(rows: int, columns: int) -> NDArray[np.float32]:
    more = np.random.default_rng(1).gamma(1.0, 10.0, size=(rows, columns - 9)).astype(np.float32)
    return np.concatenate([features(rows, 5), more], axis=1)


def test_branches_of_several_versions_answer_beside_the_network_as_they_do_alone() -> None:
    network = small_work().network
    branches = (
        Branch(teacher("old", (OWN[4], "rank"), ("churn_7d", "playtime_7d_hours"), opset=13), ("playtime_7d_hours",)),
        Branch(teacher("new", ("level", OWN[0], "rank"), ("churn_7d",)), ("churn_7d",)),
    )
    for branch in branches:
        branch.check()
    names = served_features(network, branches)
    assert names == (*OWN, "rank", "level")
    rows = served_rows(200, len(names))
    rows[0] = np.nan
    model = export.to_onnx(network, BEHAVIOURS, branches=branches)
    got = Engine.from_bytes(model).run(rows)
    alone = Engine.from_bytes(export.to_onnx(network, BEHAVIOURS)).run(np.ascontiguousarray(rows[:, :9]))
    np.testing.assert_array_equal(got[:, 1], alone[:, 1])
    assert export.check_parity(export.served(network, rows, BEHAVIOURS, branches), got) <= PARITY_TOLERANCE
    links = branches[1].teacher.links(np.ascontiguousarray(rows[:, [10, 0, 9]]))[:, 0]
    np.testing.assert_allclose(got[:, 0], 1.0 / (1.0 + np.exp(-links.astype(np.float64))), atol=1e-6)
    probe = export.make_probe(network, rows, BEHAVIOURS, branches)
    assert probe.error(Engine.from_bytes(model).run(probe.inputs())) <= PARITY_TOLERANCE


def test_without_branches_the_graph_reads_what_the_network_reads() -> None:
    network = small_work().network
    model = onnx.load_model_from_string(export.to_onnx(network, BEHAVIOURS))
    assert served_features(network, ()) == OWN
    assert "Gather" not in {node.op_type for node in model.graph.node}


def test_a_teacher_of_sessions_is_refused() -> None:
    with pytest.raises(FusionError, match="reads sessions one by one"):
        Branch(teacher("sessions", OWN, ("churn_7d",), sequences=True), ("churn_7d",)).check()


def test_a_branch_with_nothing_left_to_answer_goes() -> None:
    both = Branch(teacher("both", OWN, ("churn_7d", "return_24h")), ("churn_7d", "return_24h"))
    (left,) = without((both,), "churn_7d")
    assert left.behaviours == ("return_24h",)
    assert without((left,), "return_24h") == ()
