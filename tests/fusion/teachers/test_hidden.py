"""The last hidden layer: put through the last linear layer by hand, it gives the teacher's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusion.errors import FusionError
from fusion.teachers.hidden import hidden_layer, last_hidden
from fusion.teachers.library import links_of, train
from fusion.teachers.reading import read_network
from fusion.teachers.specs import TeacherSpec
from fusion.teachers.structure import BlackBox
from fusion.teachers.torch_module import from_module
from fusion.telemetry.dataset import Dataset, Split
from inference.contract.behaviours import DEFAULT_BEHAVIOURS, from_link

if TYPE_CHECKING:
    from fusion.teachers.onnx_teacher import OnnxTeacher

SETTINGS: dict[str, dict[str, object]] = {
    "mlp": {"epochs": 1, "hidden": [7, 5]},
    "gru": {"epochs": 1, "width": 3, "hidden": [4], "training_rows": 500},
    "tcn": {"epochs": 1, "width": 3, "hidden": [4], "training_rows": 500},
    "logistic": {"epochs": 1},
    "boosted": {"trees": 2},
}
FEATURES = ("sessions_7d", "tenure_days", "gap_1_hours")


@pytest.fixture(scope="module")
def teachers(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxTeacher]:
    specs = [
        TeacherSpec.model_validate({"name": family, "family": family, "behaviours": ["churn_7d"], "settings": settings})
        for family, settings in SETTINGS.items()
    ]
    return {teacher.card.family: teacher for teacher in train(dataset, specs, tmp_path_factory.mktemp("teachers"))}


@pytest.mark.parametrize("family", ["mlp", "gru", "tcn"])
def test_of_our_networks(dataset: Dataset, teachers: dict[str, OnnxTeacher], family: str) -> None:
    teacher, rows = teachers[family], dataset.rows(Split.TEST)[:200]
    hidden = hidden_layer(teacher, dataset, rows)
    output = read_network(teacher)[0].output
    assert hidden.shape == (200, output.in_features)
    assert hidden.min() >= 0 < hidden.max()
    by_hand = hidden @ output.weight.detach().numpy().T + output.bias.detach().numpy()
    np.testing.assert_allclose(by_hand, links_of(teacher, dataset, rows), atol=1e-4)


def test_of_a_network_that_answers_in_probabilities(dataset: Dataset) -> None:
    torch.manual_seed(0)
    last = nn.Linear(6, 1)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 6), nn.GELU(), last, nn.Sigmoid())
    teacher = from_module(
        module, dataset, name="net", features=FEATURES, behaviours={"churn_7d": "probability"}, missing=0.0
    )
    rows = dataset.rows(Split.TEST)[:200]
    by_hand = hidden_layer(teacher, dataset, rows) @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    # As probabilities, which is what the network answers: logits of those near 0 and 1 are cut off.
    said = from_link(links_of(teacher, dataset, rows), DEFAULT_BEHAVIOURS["churn_7d"])
    np.testing.assert_allclose(from_link(by_hand, DEFAULT_BEHAVIOURS["churn_7d"]), said, atol=1e-6)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(3, 4)
        self.one, self.other = nn.Linear(4, 1), nn.Linear(4, 1)

    def forward(self, features: Tensor) -> Tensor:
        one, other = self.one(torch.relu(self.first(features))), self.other(torch.relu(self.second(features)))
        return torch.cat((one, other), dim=1)


def test_what_has_none_says_why(dataset: Dataset, teachers: dict[str, OnnxTeacher]) -> None:
    behaviours = {"churn_7d": "logit", "return_24h": "logit"}
    heads = from_module(TwoHeads(), dataset, name="net", features=FEATURES, behaviours=behaviours, missing=0.0)
    for teacher, message in (
        (teachers["logistic"], "it is linear"),
        (teachers["boosted"], "TreeEnsembleRegressor"),
        (heads, "2 linear layers, not from one"),
    ):
        found = last_hidden(teacher.model)
        assert isinstance(found, BlackBox)
        assert message in found.reason
        with pytest.raises(FusionError, match=message):
            hidden_layer(teacher, dataset, dataset.rows(Split.TEST)[:3])
