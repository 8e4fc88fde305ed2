"""Networks that share factors: what was planted is found, within the budget, and every teacher answers as before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import nn

from fusion.errors import FusionError
from fusion.share import Sharing, share
from fusion.teachers.folder import load
from fusion.teachers.library import links_of, train, write
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.teachers.torch_module import from_module
from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate

FEATURES = ("sessions_7d", "sessions_28d", "active_days_28d", "session_1_hours", "gap_mean_hours", "tenure_days")
WIDTHS = (24, 20)
EXACT: dict[str, Any] = {"epochs": 0, "calibration_rows": 200}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(200, seed=4))


def _module(weights: Sequence[NDArray[np.float64]]) -> nn.Module:
    layers: list[nn.Module] = [nn.Hardtanh(-5.0, 5.0)]
    for number, weight in enumerate(weights):
        linear = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
        layers += [linear, nn.ReLU()] if number + 1 < len(weights) else [linear]
    return nn.Sequential(*layers)


def _weights(draw: np.random.Generator, widths: tuple[int, ...] = WIDTHS) -> list[NDArray[np.float64]]:
    sizes = (len(FEATURES), *widths, 1)
    return [draw.normal(size=(o, i)) / np.sqrt(i) for i, o in pairwise(sizes)]


def _teacher(dataset: Dataset, name: str, behaviour: str, weights: Sequence[NDArray[np.float64]]) -> OnnxTeacher:
    torch.manual_seed(0)
    kinds = {behaviour: "logit"}
    return from_module(_module(weights), dataset, name=name, features=FEATURES, behaviours=kinds, missing=0.0)


def _same(dataset: Dataset, one: OnnxTeacher, other: OnnxTeacher) -> None:
    rows = dataset.rows(Split.TEST)
    np.testing.assert_allclose(links_of(one, dataset, rows), links_of(other, dataset, rows), rtol=1e-3, atol=1e-3)


def test_regions_of_one_ancestor_are_it_and_a_few_numbers_each(dataset: Dataset, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    origin = _weights(draw)
    ancestor = _teacher(dataset, "world", "churn_7d", origin)
    regions = []
    for name in ("eu", "us", "asia", "oce"):
        deltas = [0.3 * np.outer(draw.normal(size=len(w)), draw.normal(size=w.shape[1])) for w in origin]
        regions.append(_teacher(dataset, name, "churn_7d", [w + d for w, d in zip(origin, deltas, strict=True)]))
    size = sum(w.size for w in origin)
    own = sum(sum(w.shape) for w in origin) + sum(len(w) for w in origin)
    settings = Sharing(budget_parameters=size + 4 * own, form="anchored", **EXACT)
    found = share(regions, dataset, settings, ancestor=ancestor)
    assert found.parameters <= size + 4 * own < 0.75 * sum(region.card.parameters for region in regions)
    assert found.whole is None, "four regions have one behaviour"
    for region in regions:
        _same(dataset, region, found.parts[region.card.name])
        write(found.parts[region.card.name], tmp_path)
    assert [one.card.name for one in load(tmp_path)] == sorted(f"{r.card.name}_shared" for r in regions)


@pytest.mark.parametrize("form", ["tucker", "cp", "basis", "per_model_svd"])
def test_planted_factors_are_found_and_one_file_has_all_behaviours(dataset: Dataset, form: str) -> None:
    draw, rank = np.random.default_rng(1), 2
    sizes = (len(FEATURES), *WIDTHS, 1)
    names = ("churn_7d", "churn_14d", "return_24h")
    left = [draw.normal(size=(o, rank)) for o in sizes[1:]]
    right = [draw.normal(size=(rank, i)) / i for i in sizes[:-1]]
    teachers = []
    for name in names:
        cores = [np.diag(draw.normal(size=rank)) for _ in left]
        stacked = [u @ core @ v for u, core, v in zip(left, cores, right, strict=True)]
        teachers.append(_teacher(dataset, f"net_{name}", name, stacked))
    total = sum(teacher.card.parameters for teacher in teachers)
    found = share(teachers, dataset, Sharing.model_validate({"budget_parameters": total // 2, "form": form, **EXACT}))
    assert found.parameters <= total // 2
    assert found.whole is not None
    assert found.whole.card.behaviour_names == names
    rows = dataset.rows(Split.TEST)
    before = np.concatenate([links_of(teacher, dataset, rows) for teacher in teachers], axis=1)
    np.testing.assert_allclose(links_of(found.whole, dataset, rows), before, rtol=1e-3, atol=1e-3)
    for teacher in teachers:
        _same(dataset, teacher, found.parts[teacher.card.name])


def test_other_widths_and_features_meet_and_fine_tuning_wins_back(dataset: Dataset, tmp_path: Path) -> None:
    hidden: dict[str, list[JsonValue]] = {
        "churn_7d": [24, 16],
        "return_24h": [32, 12],
        "playtime_7d_hours": [20, 16],
    }
    specs = [
        TeacherSpec(name=f"net_{name}", family="mlp", behaviours=(name,), settings={"hidden": widths, "epochs": 2})
        for name, widths in hidden.items()
    ]
    teachers = train(dataset, specs, tmp_path)
    total = sum(teacher.card.parameters for teacher in teachers)
    rows = dataset.rows(Split.TEST)
    before = np.concatenate([links_of(teacher, dataset, rows) for teacher in teachers], axis=1)

    def left(epochs: int) -> float:
        settings = Sharing(budget_parameters=total // 2, form="basis", epochs=epochs, label_share=0.0)
        found = share(teachers, dataset, settings)
        assert found.parameters <= total // 2
        assert found.whole is not None
        now = links_of(found.whole, dataset, rows)
        return float((((now - before) ** 2).mean(axis=0) / before.var(axis=0)).mean())

    assert left(4) < left(0)


def test_what_cannot_share_is_refused(dataset: Dataset) -> None:
    draw = np.random.default_rng(2)
    one = _teacher(dataset, "one", "churn_7d", _weights(draw))
    with pytest.raises(FusionError, match="got 1 networks, expected two at least"):
        share([one], dataset, Sharing(budget_parameters=1000))
    deeper = _teacher(dataset, "deeper", "churn_14d", _weights(draw, (8, 8, 8)))
    with pytest.raises(FusionError, match=r"deeper.*got 4 levels, expected 3"):
        share([one, deeper], dataset, Sharing(budget_parameters=1000))
    with pytest.raises(FusionError, match="an ancestor with form anchored only"):
        share([one, one], dataset, Sharing(budget_parameters=1000), ancestor=one)
    with pytest.raises(FusionError, match="at least"):
        share([one, one], dataset, Sharing(budget_parameters=50))
    wider = _teacher(dataset, "wider", "churn_14d", _weights(draw, (WIDTHS[0] + 2, *WIDTHS[1:])))
    with pytest.raises(FusionError, match=r"align: got networks of widths .* and .*, expected equal widths"):
        share([one, wider], dataset, Sharing(budget_parameters=1000, align=True))
