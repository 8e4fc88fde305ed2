"""Teachers are read back from their own graphs, and nothing else is taken for one. (Real families: test_compress.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest

from fusion.errors import FusionError
from fusion.teachers.library import train
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.reading import read_network
from fusion.teachers.specs import TeacherSpec
from inference.contract.artifact import sha256

if TYPE_CHECKING:
    from fusion.telemetry.dataset import Dataset


@pytest.fixture(scope="module")
def teacher(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> OnnxTeacher:
    spec = TeacherSpec(name="a", family="mlp", behaviours=("churn_7d",), settings={"hidden": [8], "epochs": 1})
    return train(dataset, [spec], tmp_path_factory.mktemp("teachers"))[0]


def _changed(teacher: OnnxTeacher, before: str, after: str) -> OnnxTeacher:
    model = onnx.load_model_from_string(teacher.model)
    for node in model.graph.node:
        if node.op_type == before:
            node.op_type = after
    content = model.SerializeToString()
    return OnnxTeacher(content, teacher.card.model_copy(update={"onnx_sha256": sha256(content)}))


def test_a_network_of_another_activation_is_not_taken_for_ours(teacher: OnnxTeacher) -> None:
    read_network(teacher)
    with pytest.raises(FusionError, match="departs from the file"):
        read_network(_changed(teacher, "Relu", "Tanh"))


def test_a_graph_that_lacks_a_part_is_refused(teacher: OnnxTeacher) -> None:
    with pytest.raises(FusionError, match="as the families gru, tcn, mlp and logistic write it"):
        read_network(_changed(teacher, "Div", "Mul"))
