"""Torch modules as teachers: what they say in torch is what they say in ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusion.errors import FusionError
from fusion.teachers.folder import load
from fusion.teachers.library import links_of, write
from fusion.teachers.torch_module import from_module
from fusion.telemetry.dataset import Dataset, Split
from inference.contract.behaviours import from_link

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = ("sessions_7d", "tenure_days", "gap_1_hours")
KINDS = {"churn_7d": "probability", "return_24h": "logit", "playtime_7d_hours": "value", "sessions_7d": "log1p"}


class Studio(nn.Module):
    """Four behaviours on four scales; dropout shows whether it is used in its evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(3), nn.Linear(3, 16), nn.GELU(), nn.LayerNorm(16), nn.Dropout(0.5), nn.Linear(16, 4)
        )

    def forward(self, features: Tensor) -> Tensor:
        churn, back, playtime, sessions = self.layers(features).split(1, dim=1)
        return torch.cat((torch.sigmoid(churn), back, nn.functional.softplus(playtime), sessions), dim=1)


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return Studio()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_module_of_four_kinds_of_numbers(
    dataset: Dataset, module: nn.Module, dtype: torch.dtype, tmp_path: Path
) -> None:
    module.to(dtype)
    write(from_module(module, dataset, name="net", features=FEATURES, behaviours=KINDS, missing=0.0), tmp_path)
    assert module.training, "the caller's own module is left as it was"
    (teacher,) = load(tmp_path)
    assert teacher.card.behaviour_names == tuple(KINDS)
    assert teacher.card.parameters >= 16 * 4 + 4 * 17
    rows = dataset.rows(Split.TEST)
    inputs = np.nan_to_num(dataset.features[rows][:, [dataset.feature_names.index(name) for name in FEATURES]])
    with torch.no_grad():
        said = module.eval()(torch.from_numpy(inputs).to(dtype)).double().numpy()
    links = links_of(teacher, dataset, rows)
    for column, (behaviour, kind) in enumerate(zip(teacher.card.behaviours, KINDS.values(), strict=True)):
        got = links[:, column] if kind in {"logit", "log1p"} else from_link(links[:, column], behaviour)
        np.testing.assert_allclose(got, said[:, column], rtol=2e-4, atol=2e-4)


def test_one_number_per_row_needs_no_second_axis(dataset: Dataset) -> None:
    module = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))
    teacher = from_module(module, dataset, name="flat", features=FEATURES, behaviours={"churn_7d": "logit"}, missing=0)
    assert teacher.links(np.zeros((5, 3), dtype=np.float32)).shape == (5, 1)


def test_a_module_of_another_width_is_told(dataset: Dataset) -> None:
    with pytest.raises(FusionError, match=r"module net: got RuntimeError: .* expected a module that takes \(rows, 3\)"):
        from_module(nn.Linear(4, 1), dataset, name="net", features=FEATURES, behaviours={"churn_7d": "logit"})


@pytest.mark.parametrize(
    ("features", "behaviours", "message"),
    [
        (FEATURES, {"churn_7d": "sigmoid"}, r"module net, behaviours.0.kind: got 'sigmoid', .*'probability', 'logit'"),
        (FEATURES[:1] * 3, {"churn_7d": "logit"}, "features named twice: sessions_7d"),
        (FEATURES, {}, r"module net, behaviours: got \(?\[?.* at least 1 item"),
    ],
)
def test_what_is_said_of_a_module_is_checked_as_a_card_is(
    dataset: Dataset, features: tuple[str, ...], behaviours: dict[str, str], message: str
) -> None:
    with pytest.raises(FusionError, match=message):
        from_module(nn.Linear(3, 1), dataset, name="net", features=features, behaviours=behaviours)


class Branching(nn.Module):
    """Does something else for many rows than for the two that it is traced with."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :1] * (1.0 if len(features) < 3 else 2.0)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_graph_that_departs_from_its_module_is_refused(dataset: Dataset) -> None:
    with pytest.raises(FusionError, match="module net: got a deviation of"):
        from_module(Branching(), dataset, name="net", features=FEATURES, behaviours={"churn_7d": "logit"}, missing=0)
