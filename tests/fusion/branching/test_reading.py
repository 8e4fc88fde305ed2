"""Networks as levels: scales of groups of behaviours, heads, unused features; what is none of these is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fusion.branching.ownership import NOBODY, assign
from fusion.branching.reading import read_dense
from fusion.branching.trace import trace
from fusion.errors import FusionError
from fusion.teachers.import_card import Answer, Calibration, ImportCard, Scale
from fusion.teachers.importer import import_model
from fusion.teachers.library import links_of, train
from fusion.teachers.specs import TeacherSpec
from fusion.teachers.structure import Clip
from fusion.teachers.torch_module import from_module
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from tests.support.branches import BEHAVIOURS, as_model, planted

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.teachers.onnx_teacher import OnnxTeacher

FEATURES = ("sessions_7d", "tenure_days", "gap_1_hours")
MIXED = {"churn_7d": "probability", "return_24h": "probability", "playtime_7d_hours": "value"}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(120, seed=3))


class Heads(nn.Module):
    """A trunk, and a head of its own for every behaviour."""

    def __init__(self, *functions: nn.Module, depth: tuple[int, ...] = (1, 1, 1)) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 6), nn.ReLU())
        self.heads = nn.ModuleList(
            nn.Sequential(*(nn.Sequential(nn.Linear(6, 6), each) for _ in range(levels)), nn.Linear(6, 1))
            for each, levels in zip(functions, depth, strict=True)
        )

    def forward(self, features: Tensor) -> Tensor:
        trunk = self.trunk(features)
        return torch.cat([head(trunk) for head in self.heads], dim=1)


def _teacher(module: nn.Module, dataset: Dataset, **more: Any) -> OnnxTeacher:
    torch.manual_seed(0)
    behaviours = {name: "logit" for name in ("churn_7d", "return_24h", "return_72h")}
    return from_module(
        module, dataset, **{"name": "net", "features": FEATURES, "behaviours": behaviours, "missing": 0.0, **more}
    )


def _check(teacher: OnnxTeacher, dataset: Dataset) -> NDArray[np.float64]:
    rows = dataset.rows(Split.TEST)
    columns = [dataset.feature_names.index(name) for name in teacher.card.features]
    links = trace(read_dense(teacher), dataset.features[rows][:, columns]).links
    np.testing.assert_allclose(links, links_of(teacher, dataset, rows), rtol=1e-4, atol=1e-4)
    return links


def test_our_networks_are_levels(dataset: Dataset, tmp_path: Path) -> None:
    settings = {"epochs": 1, "hidden": [12, 7]}
    (teacher,) = train(
        dataset, [TeacherSpec.model_validate({"name": "net", "family": "mlp", "settings": settings})], tmp_path
    )
    _check(teacher, dataset)
    network = read_dense(teacher)
    assert [len(level.bias) for level in network.levels] == [12, 7, len(dataset.behaviours)]
    assert network.parameter_count == teacher.card.parameters


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Identity()])
def test_behaviours_on_several_scales_share_what_comes_before(dataset: Dataset, last: nn.Module) -> None:
    """Probabilities and amounts leave the model side by side, and go to the link scale each in their own way."""
    torch.manual_seed(0)

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 5), nn.LeakyReLU(0.2), nn.Linear(5, 3))

        def forward(self, features: Tensor) -> Tensor:
            answers: Tensor = last(self.net(0.01 * features))
            return answers

    behaviours = MIXED if isinstance(last, nn.Sigmoid) else dict(zip(MIXED, ("logit", "logit", "log1p"), strict=True))
    teacher = _teacher(Mixed(), dataset, behaviours=behaviours)
    _check(teacher, dataset)
    network = read_dense(teacher)
    assert [len(level.bias) for level in network.levels] == [8, 5, 3]
    if isinstance(last, nn.Sigmoid):
        # Sigmoid, bounds, logit have become the bounds of a logit.
        (bounds,) = network.answers[0]
        assert isinstance(bounds, Clip)
        assert bounds.high == pytest.approx(16.118, abs=1e-3)


def test_a_calibration_and_features_nobody_reads_are_read_too(dataset: Dataset) -> None:
    network, _ = planted(0)
    names = (*FEATURES, "gap_2_hours", "playtime_7d_hours", "sessions_30d")
    known = tuple(name for name in names if name in dataset.feature_names)
    more = [name for name in dataset.feature_names if name not in known][: 6 - len(known)]
    card = ImportCard(
        features=(*known, *more),
        behaviours=(
            Answer(name="churn_7d", kind=Scale.LOGIT, calibration=Calibration(temperature=2.0, bias=0.1), column=2),
            Answer(name="return_24h", kind=Scale.LOGIT, column=0),
        ),
        missing=0.0,
    )
    teacher = import_model("studio", as_model(network), card, dataset)
    _check(teacher, dataset)
    assert len(read_dense(teacher).levels[-1].bias) == BEHAVIOURS - 1


def test_heads_become_one_level_with_zeros_between_them(dataset: Dataset) -> None:
    teacher = _teacher(Heads(nn.ReLU(), nn.ReLU(), nn.ReLU(), depth=(2, 2, 2)), dataset)
    _check(teacher, dataset)
    network = read_dense(teacher)
    assert [level.weight.shape for level in network.levels] == [(6, 3), (18, 6), (18, 18), (3, 18)]
    blocks = network.levels[2].weight.reshape(3, 6, 3, 6).transpose(0, 2, 1, 3)
    assert [[bool(block.any()) for block in line] for line in blocks] == np.eye(3, dtype=bool).tolist()
    assert network.parameter_count == (3 * 6 + 6) + 3 * (2 * (6 * 6 + 6) + 6 + 1)


class Towers(nn.Module):
    """Networks side by side, which share nothing but perhaps the scale of the features."""

    def __init__(self, *scales: float) -> None:
        super().__init__()
        self.scales = scales
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 1)) for _ in scales
        )

    def forward(self, features: Tensor) -> Tensor:
        pairs = zip(self.towers, self.scales, strict=True)
        return torch.cat([tower((features - 1.0) * scale) for tower, scale in pairs], dim=1)


def test_towers_are_levels_side_by_side(dataset: Dataset) -> None:
    teacher = _teacher(Towers(0.1, 0.1, 0.1), dataset)
    _check(teacher, dataset)
    network = read_dense(teacher)
    owners = assign(network, trace(network, dataset.features[:, :3]), 0.0)
    assert set(owners[0]) <= {0, 1, 2, NOBODY}


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "heads of other depths": (lambda: Heads(*[nn.ReLU()] * 3, depth=(1, 1, 2)), "heads of 3 and 4 levels"),
    "heads of other functions": (lambda: Heads(nn.ReLU(), nn.Tanh(), nn.ReLU()), "heads of different functions"),
    "towers of other scales": (lambda: Towers(0.1, 0.1, 1.0), "heads that scale the features differently"),
    "no hidden level": (lambda: nn.Linear(3, 3), "no hidden level: every behaviour reads the features by itself"),
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
        "a layer LayerNorm, which mixes the columns",
    ),
    "softmax": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1), nn.Linear(4, 3)),
        "a layer softmax, which mixes the columns",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_levels_is_refused(dataset: Dataset, name: str) -> None:
    module, message = REFUSED[name]
    with pytest.raises(
        FusionError, match=rf"teacher net of family imported(, level 2)?: got {message}, expected dense levels"
    ):
        read_dense(_teacher(module(), dataset))


def test_one_behaviour_trees_and_recurrent_networks_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    behaviours, short = ["churn_7d", "return_24h"], {"epochs": 1, "training_rows": 200}
    specs = [
        {"name": "alone", "family": "mlp", "behaviours": behaviours[:1], "settings": {**short, "hidden": [4]}},
        {"name": "trees", "family": "boosted", "behaviours": behaviours, "settings": {"trees": 2}},
        {
            "name": "gru",
            "family": "gru",
            "behaviours": behaviours,
            "settings": {"epochs": 1, "width": 3, "hidden": [4]},
        },
    ]
    alone, trees, gru = train(dataset, [TeacherSpec.model_validate(spec) for spec in specs], tmp_path)
    with pytest.raises(FusionError, match=r"teacher alone .* got one behaviour, churn_7d, expected two at least"):
        read_dense(alone)
    with pytest.raises(FusionError, match=r"teacher trees of family boosted: got .*TreeEnsemble.*recurrent and other"):
        read_dense(trees)
    with pytest.raises(FusionError, match=r"teacher gru of family gru: got other inputs than the features alone"):
        read_dense(gru)
