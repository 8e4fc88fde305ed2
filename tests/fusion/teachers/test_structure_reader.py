"""Layers read back from graphs compute what the graphs compute; what is no chain of layers is told in one sentence."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
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
from fusion.teachers.structure import Activation, BlackBox, Cell, Chain, Dense, Function, Impute, Join, Recurrent
from fusion.teachers.structure_reader import read_structure
from fusion.teachers.torch_module import from_module
from fusion.telemetry.dataset import Dataset, Split
from tests.support.foreign_models import CHURN, TWO, WEIGHTS, card, linear
from tests.support.layers import compute

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FEATURES = ("sessions_7d", "tenure_days", "gap_1_hours")


def _checked(
    model: bytes, inputs: dict[str, NDArray[Any]], output: str = "links", *, probabilities: bool = False
) -> Chain:
    """The layers of a graph, found to compute what the graph computes.

    In single precision, the last bit of a probability near 1 is much of its logit: such are compared as probabilities.
    """
    chain = read_structure(model, output)
    assert isinstance(chain, Chain), chain
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    got, expected = compute(chain, inputs), np.asarray(session.run([output], inputs)[0])
    if probabilities:
        got, expected = np.tanh(got / 2), np.tanh(expected / 2)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    return chain


def _kinds(chain: Chain) -> list[str]:
    return [layer.function.value if isinstance(layer, Activation) else type(layer).__name__ for layer in chain.layers]


def _inputs(dataset: Dataset, features: tuple[str, ...] = FEATURES) -> dict[str, NDArray[Any]]:
    columns = [dataset.feature_names.index(name) for name in features]
    return {"features": dataset.features[dataset.rows(Split.TEST)[:100]][:, columns]}


def test_our_networks_are_chains(dataset: Dataset, tmp_path: Path) -> None:
    settings = {"epochs": 1, "hidden": [12, 7]}
    spec = TeacherSpec.model_validate({"name": "net", "family": "mlp", "settings": settings})
    (teacher,) = train(dataset, [spec], tmp_path)
    chain = _checked(teacher.model, _inputs(dataset, teacher.card.features))
    assert chain.source == "features"
    assert _kinds(chain) == ["Impute", "signed_log1p", "Affine", "Clip", "Dense", "relu", "Dense", "relu", "Dense"]
    assert [layer.weight.shape[0] for layer in chain.layers if isinstance(layer, Dense)] == [12, 7, 9]


def test_our_recurrent_networks_join_two_chains(dataset: Dataset, tmp_path: Path) -> None:
    settings = {"epochs": 1, "width": 5, "hidden": [7]}
    spec = TeacherSpec.model_validate({"name": "net", "family": "gru", "settings": settings})
    (teacher,) = train(dataset, [spec], tmp_path)
    sequences = dataset.sequences(dataset.rows(Split.TEST)[:100])
    inputs = _inputs(dataset, teacher.card.features) | {"sequences": sequences}
    chain = _checked(teacher.model, inputs)
    assert isinstance(chain.source, Join)
    encoder, features = chain.source.parts
    assert (encoder.source, features.source) == ("sequences", "features")
    recurrent = encoder.layers[-1]
    assert isinstance(recurrent, Recurrent)
    assert recurrent.skips_padding
    assert not recurrent.newest_first
    assert _kinds(chain) == ["Dense", "relu", "Dense"]


ACTIVATIONS = (nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.GELU(), nn.SiLU())


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda module: type(module).__name__)
def test_networks_of_torch_are_chains(dataset: Dataset, activation: nn.Module) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 6), activation, nn.LayerNorm(6), nn.Linear(6, 2))
    behaviours = {"churn_7d": "logit", "return_24h": "logit"}
    teacher = from_module(module, dataset, name="net", features=FEATURES, behaviours=behaviours, missing=0.0)
    chain = _checked(teacher.model, _inputs(dataset))
    assert isinstance(chain.layers[0], Impute)
    assert [kind for kind in _kinds(chain) if kind not in ("Impute", "Affine")] == [
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
        layer = _checked(teacher.model, _inputs(dataset), probabilities=kind == "probability").layers[-1]
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
        chain = _checked(teacher.model, {"features": inputs}, probabilities=True)
        assert [kind for kind in _kinds(chain) if kind not in ("Impute", "Affine")] == expected


class Encoder(nn.Module):
    """The last state of a recurrent layer, taken in one of two ways."""

    def __init__(self, cell: type[nn.GRU | nn.LSTM], by_output: bool, layers: int = 1) -> None:
        super().__init__()
        self.cell = cell(4, 5, batch_first=True, num_layers=layers)
        self.output = nn.Linear(5, 2)
        self.by_output = by_output

    def forward(self, sequences: Tensor) -> Tensor:
        states, last = self.cell(sequences)
        state = states[:, -1] if self.by_output else (last[0] if isinstance(last, tuple) else last)[-1]
        answer: Tensor = self.output(state)
        return answer


def _exported(module: nn.Module, path: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 6, 4),),
            path,
            input_names=["sequences"],
            output_names=["links"],
            dynamic_axes={"sequences": {0: "rows"}},
            dynamo=False,
        )
    return path.read_bytes()


@pytest.mark.parametrize("by_output", [True, False])
@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_recurrent_layers_of_torch_are_read(cell: type[nn.GRU | nn.LSTM], by_output: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sequences = np.random.default_rng(0).normal(size=(7, 6, 4)).astype(np.float32)
    chain = _checked(_exported(Encoder(cell, by_output), tmp_path / "m.onnx"), {"sequences": sequences})
    recurrent, dense = chain.layers
    assert isinstance(recurrent, Recurrent)
    assert isinstance(dense, Dense)
    assert recurrent.cell is (Cell.GRU if cell is nn.GRU else Cell.LSTM)
    assert not recurrent.skips_padding
    assert not recurrent.newest_first


def _reason(model: bytes, output: str = "links") -> str:
    found = read_structure(model, output)
    assert isinstance(found, BlackBox)
    return found.reason


def test_what_is_no_chain_of_layers_says_why(dataset: Dataset, tmp_path: Path) -> None:
    settings: dict[str, dict[str, object]] = {"boosted": {"trees": 2}, "tcn": {"epochs": 1, "width": 3, "hidden": [4]}}
    specs = [
        TeacherSpec.model_validate(
            {"name": family, "family": family, "behaviours": ["churn_7d"], "settings": settings[family]}
        )
        for family in settings
    ]
    trees, tcn = train(dataset, specs, tmp_path)
    assert "TreeEnsembleRegressor (node" in _reason(trees.model)
    assert "(node" in _reason(tcn.model)
    two_layers = _exported(Encoder(nn.GRU, True, layers=2), tmp_path / "m.onnx")
    assert "a recurrent layer reads something else than sequences" in _reason(two_layers)


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
    assert message in _reason(teacher.model)


def test_weights_that_are_computed_are_no_weights() -> None:
    graph = Graph("g")
    value = graph.input("features", (2,))
    model = graph.serialise(graph.op("MatMul", value, graph.op("Transpose", value)), "links", 2)
    assert "the weight v0 is computed, not stored" in _reason(model)


def test_scales_and_shifts_are_merged_into_the_layer_before_them(dataset: Dataset) -> None:
    model = linear(WEIGHTS, bias=0.5)
    model.graph.node.append(helper.make_node("Sub", ["two", "y"], ["z"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(2.0, dtype=np.float32), "two"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1]))
    inputs = {"x": np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)}
    (dense,) = _checked(model.SerializeToString(), inputs, "z").layers
    assert isinstance(dense, Dense)
    np.testing.assert_allclose(dense.weight, -WEIGHTS.T)
    np.testing.assert_allclose(dense.bias, [1.5])
    teacher = import_model("studio", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN), dataset)
    assert _kinds(_checked(teacher.model, _inputs(dataset, TWO))) == ["Dense"]
