"""Layers read back from graphs compute what the graphs compute; what is no chain of layers is told in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from fusion.onnx_graph import Graph
from fusion.teachers.importer import import_model
from fusion.teachers.library import train
from fusion.teachers.specs import TeacherSpec
from fusion.teachers.structure import Activation, Dense, Function, Impute, Join, Recurrent
from fusion.teachers.torch_module import from_module
from fusion.telemetry.dataset import Dataset, Split
from tests.support.foreign_models import CHURN, TWO, WEIGHTS, card, linear
from tests.support.layers import checked, kinds, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

FEATURES = ("sessions_7d", "tenure_days", "gap_1_hours")


def _inputs(dataset: Dataset, features: tuple[str, ...] = FEATURES) -> dict[str, NDArray[Any]]:
    columns = [dataset.feature_names.index(name) for name in features]
    return {"features": dataset.features[dataset.rows(Split.TEST)[:100]][:, columns]}


def test_our_networks_are_chains(dataset: Dataset, tmp_path: Path) -> None:
    settings = {"epochs": 1, "hidden": [12, 7]}
    spec = TeacherSpec.model_validate({"name": "net", "family": "mlp", "settings": settings})
    (teacher,) = train(dataset, [spec], tmp_path)
    chain = checked(teacher.model, _inputs(dataset, teacher.card.features))
    assert chain.source == "features"
    assert kinds(chain) == ["Impute", "signed_log1p", "Affine", "Clip", "Dense", "relu", "Dense", "relu", "Dense"]
    assert [layer.weight.shape[0] for layer in chain.layers if isinstance(layer, Dense)] == [12, 7, 9]


def test_our_recurrent_networks_join_two_chains(dataset: Dataset, tmp_path: Path) -> None:
    settings = {"epochs": 1, "width": 5, "hidden": [7]}
    spec = TeacherSpec.model_validate({"name": "net", "family": "gru", "settings": settings})
    (teacher,) = train(dataset, [spec], tmp_path)
    sequences = dataset.sequences(dataset.rows(Split.TEST)[:100])
    inputs = _inputs(dataset, teacher.card.features) | {"sequences": sequences}
    chain = checked(teacher.model, inputs)
    assert isinstance(chain.source, Join)
    encoder, features = chain.source.parts
    assert (encoder.source, features.source) == ("sequences", "features")
    recurrent = encoder.layers[-1]
    assert isinstance(recurrent, Recurrent)
    assert recurrent.skips_padding
    assert not recurrent.newest_first
    assert kinds(chain) == ["Dense", "relu", "Dense"]


ACTIVATIONS = (nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.GELU(), nn.SiLU())


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda module: type(module).__name__)
def test_networks_of_torch_are_chains(dataset: Dataset, activation: nn.Module) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 6), activation, nn.LayerNorm(6), nn.Linear(6, 2))
    behaviours = {"churn_7d": "logit", "return_24h": "logit"}
    teacher = from_module(module, dataset, name="net", features=FEATURES, behaviours=behaviours, missing=0.0)
    chain = checked(teacher.model, _inputs(dataset))
    assert isinstance(chain.layers[0], Impute)
    assert [kind for kind in kinds(chain) if kind not in ("Impute", "Affine")] == [
        "Dense",
        {"leakyrelu": "leaky_relu"}.get(type(activation).__name__.lower(), type(activation).__name__.lower()),
        "LayerNorm",
        "Dense",
    ]


def test_what_makes_links_of_probabilities_and_amounts_is_read_too(dataset: Dataset) -> None:
    for behaviour, kind, last, function in (
        ("churn_7d", "probability", nn.Sigmoid(), Function.LOGIT),
        ("playtime_7d_hours", "value", nn.Softplus(), Function.LOG1P),
    ):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 1), last)
        teacher = from_module(module, dataset, name="net", features=FEATURES, behaviours={behaviour: kind}, missing=0)
        layer = checked(teacher.model, _inputs(dataset), probabilities=kind == "probability").layers[-1]
        assert isinstance(layer, Activation)
        assert layer.function is function


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_pipelines_of_scikit_learn_are_chains(dataset: Dataset) -> None:
    inputs = _inputs(dataset)["features"]
    labels = dataset.labels[dataset.rows(Split.TEST)[:100], 0] > np.nanmean(dataset.labels[:, 0])
    line = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(inputs, labels.astype(int))
    net = MLPClassifier((4,), max_iter=2, tol=1e9, n_iter_no_change=1, random_state=0)
    net.fit(np.nan_to_num(inputs), labels.astype(int))
    described = card(FEATURES, CHURN | {"kind": "probability"}, missing=0)
    for model, expected in (
        (line, ["Dense", "sigmoid", "Select", "Clip", "Clip", "logit"]),
        (net, ["Dense", "relu", "Dense", "sigmoid", "Clip", "Clip", "logit"]),
    ):
        exported = to_onnx(model, inputs[:1], options={"zipmap": False}).SerializeToString()
        teacher = import_model("sklearn", exported, described, dataset)
        chain = checked(teacher.model, {"features": inputs}, probabilities=True)
        assert [kind for kind in kinds(chain) if kind not in ("Impute", "Affine")] == expected


def test_what_is_no_chain_of_layers_says_why(dataset: Dataset, tmp_path: Path) -> None:
    settings: dict[str, dict[str, object]] = {"boosted": {"trees": 2}, "tcn": {"epochs": 1, "width": 3, "hidden": [4]}}
    specs = [
        TeacherSpec.model_validate(
            {"name": family, "family": family, "behaviours": ["churn_7d"], "settings": settings[family]}
        )
        for family in settings
    ]
    trees, tcn = train(dataset, specs, tmp_path)
    assert "TreeEnsembleRegressor (node" in reason(trees.model)
    assert "(node" in reason(tcn.model)


class Branching(nn.Module):
    """A layer whose output goes two ways, which meet in a sum or side by side."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(6 if joined else 3, 1)
        self.joined = joined

    def forward(self, features: Tensor) -> Tensor:
        one = torch.relu(self.first(features))
        two = self.second(one)
        answer: Tensor = self.last(torch.cat((one, two), dim=1) if self.joined else one + two)
        return answer


@pytest.mark.parametrize(("joined", "message"), [(True, "goes two ways"), (False, "puts two computed values together")])
def test_branches_are_no_chain(dataset: Dataset, joined: bool, message: str) -> None:
    module, behaviours = Branching(joined), {"churn_7d": "logit"}
    teacher = from_module(module, dataset, name="net", features=FEATURES, behaviours=behaviours, missing=0)
    assert message in reason(teacher.model)


def test_weights_that_are_computed_are_no_weights() -> None:
    graph = Graph("g")
    value = graph.input("features", (2,))
    model = graph.serialise(graph.op("MatMul", value, graph.op("Transpose", value)), "links", 2)
    assert "the weight v0 is computed, not stored" in reason(model)


def test_scales_and_shifts_are_merged_into_the_layer_before_them(dataset: Dataset) -> None:
    model = linear(WEIGHTS, bias=0.5)
    model.graph.node.append(helper.make_node("Sub", ["two", "y"], ["z"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(2.0, dtype=np.float32), "two"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1]))
    inputs = {"x": np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)}
    (dense,) = checked(model.SerializeToString(), inputs, "z").layers
    assert isinstance(dense, Dense)
    np.testing.assert_allclose(dense.weight, -WEIGHTS.T)
    np.testing.assert_allclose(dense.bias, [1.5])
    teacher = import_model("studio", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN), dataset)
    assert kinds(checked(teacher.model, _inputs(dataset, TWO))) == ["Dense"]


def _graph(build: Callable[[Graph, str], str], columns: int = 2) -> bytes:
    graph = Graph("g")
    return graph.serialise(build(graph, graph.input("features", (columns,))), "links", columns)


def _number(graph: Graph, *values: float) -> str:
    return graph.constant(np.array(values))


LAYERS: dict[str, tuple[Callable[[Graph, str], str], list[str]]] = {
    "softmax": (lambda g, x: g.op("Softmax", x), ["softmax"]),
    "bounds": (lambda g, x: g.op("Min", g.op("Max", x, _number(g, -0.5)), _number(g, 0.5)), ["Clip", "Clip"]),
    "one minus": (lambda g, x: g.op("Sub", _number(g, 1.0), x), ["Affine"]),
    "two affine": (lambda g, x: g.op("Add", _number(g, 3.0, 4.0), g.op("Mul", _number(g, 1.0, 2.0), x)), ["Affine"]),
    "nothing": (lambda g, x: g.op("Div", g.op("Flatten", x), _number(g, 1.0)), []),
    "turned": (lambda g, x: g.op("Gather", x, g.constant([1, 0], np.int64), axis=1), ["Select"]),
    "joined": (lambda g, x: g.op("Concat", g.op("Tanh", x), axis=1), ["tanh"]),
    "product": (lambda g, x: g.op("MatMul", x, g.constant([[1.0, 2.0], [3.0, 4.0]])), ["Dense"]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_small_graphs_are_read(name: str) -> None:
    build, expected = LAYERS[name]
    inputs = {"features": np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)}
    assert kinds(checked(_graph(build), inputs)) == expected


def test_gelu_has_an_operator_of_its_own_since() -> None:
    for approximate, expected in ("none", ["gelu"]), ("tanh", None):
        model = linear(WEIGHTS)
        model.graph.node.append(helper.make_node("Gelu", ["y"], ["z"], approximate=approximate))
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1]))
        model.opset_import[0].version = 20
        if expected:
            inputs = {"x": np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)}
            assert kinds(checked(model.SerializeToString(), inputs, "z")) == ["Dense", *expected]
        else:
            assert "is an approximation" in reason(model.SerializeToString(), "z")


NO_LAYERS: dict[str, tuple[Callable[[Graph, str], str], str]] = {
    "rows": (lambda g, x: g.op("Softmax", x, axis=0), "Softmax (node v0) is not over the columns"),
    "logarithm": (lambda g, x: g.op("Log", g.op("Abs", x)), "Log (node v1) is neither log(1 + x) nor a logit"),
    "constant": (lambda g, x: g.op("Tanh", g.constant([[1.0, 2.0]])), "c0 is a constant, where something computed"),
    "larger of two": (lambda g, x: g.op("Max", x, g.op("Tanh", x)), "Max (node v1) is not of a value and a number"),
    "where": (
        lambda g, x: g.op("Where", g.op("Greater", x, _number(g, 0.0)), x, _number(g, 0.0)),
        "Where (node v1) does not replace NaN by a constant",
    ),
    "by row": (
        lambda g, x: g.op("Add", x, g.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])),
        "Add (node v0) is not column by column",
    ),
    "from the end": (
        lambda g, x: g.op("Gather", x, g.constant([0, -1], np.int64), axis=1),
        "Gather (node v0) counts columns from the end",
    ),
    "some rows": (lambda g, x: g.op("Gather", x, g.constant([0], np.int64), axis=0), "does not pick columns"),
    "below": (lambda g, x: g.op("Concat", x, x, axis=0), "Concat (node v0) does not put columns side by side"),
    "turned": (lambda g, x: g.op("Gemm", x, g.constant([[1.0, 2.0]]), transA=1), "Gemm (node v0) turns its rows"),
    "unlike": (lambda g, x: g.op("Mul", g.op("Tanh", x), g.op("Sigmoid", x)), "puts two computed values together"),
}


@pytest.mark.parametrize("name", NO_LAYERS)
def test_small_graphs_that_are_no_layers_say_why(name: str) -> None:
    build, expected = NO_LAYERS[name]
    assert expected in reason(_graph(build))
