"""A studio's own models: real ones of other frameworks, said with a short card, answer as they do at home."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import onnxmltools
import pytest
import xgboost
from onnx import TensorProto, helper, numpy_helper
from onnxmltools.convert.common.data_types import FloatTensorType as TreeInput
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fusion.errors import FusionError
from fusion.evaluate import quality
from fusion.teachers.importer import import_model
from fusion.teachers.library import links_of
from fusion.telemetry.dataset import Dataset, Split
from inference.contract.artifact import PARITY_TOLERANCE
from inference.contract.behaviours import from_link
from tests.support.foreign_models import CHURN, TWO, WEIGHTS, card, linear, matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.teachers.import_card import ImportCard
    from inference.contract.behaviours import Behaviour


@pytest.fixture(scope="module")
def features(dataset: Dataset) -> tuple[str, ...]:
    """Some columns turned round, unknown values among them: neither all features, nor in the dataset's order."""
    return dataset.feature_names[::-4]


@dataclass(frozen=True)
class Rows:
    """What a studio trains on: known labels of the training players; and the test players to ask about."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.float32]
    asked: NDArray[np.float32]
    behaviour: Behaviour


def rows(dataset: Dataset, features: tuple[str, ...], name: str) -> Rows:
    columns = [dataset.feature_names.index(feature) for feature in features]
    position = [behaviour.name for behaviour in dataset.behaviours].index(name)
    training = dataset.rows(Split.TRAIN)
    training = training[~np.isnan(dataset.labels[training, position])]
    return Rows(
        dataset.features[training][:, columns],
        dataset.labels[training, position],
        dataset.features[dataset.rows(Split.TEST)][:, columns],
        dataset.behaviours[position],
    )


def served(dataset: Dataset, model: bytes, described: ImportCard) -> NDArray[np.float64]:
    """What the imported teacher says of the test players, on the served scale, of its first behaviour."""
    teacher = import_model("studio", model, described, dataset)
    assert teacher.card.family == "imported"
    assert teacher.card.parameters > 0
    test = dataset.rows(Split.TEST)
    links = links_of(teacher, dataset, test)[:, 0]
    assert teacher.card.validation_quality[teacher.card.behaviour_names[0]] > 0.1
    return from_link(links, teacher.card.behaviours[0])


def test_a_pipeline_of_scikit_learn_with_labels_and_maps(dataset: Dataset, features: tuple[str, ...]) -> None:
    churn = rows(dataset, features, "churn_7d")
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    model.fit(churn.inputs, churn.labels.astype(int))
    exported = to_onnx(model, churn.inputs[:1])
    assert [value.name for value in exported.graph.output] == ["output_label", "output_probability"]
    got = served(dataset, exported.SerializeToString(), card(features, {"name": "churn_7d", "kind": "probability"}))
    np.testing.assert_allclose(got, model.predict_proba(churn.asked)[:, 1], atol=PARITY_TOLERANCE)


def test_double_precision_and_a_matrix_of_probabilities(dataset: Dataset, features: tuple[str, ...]) -> None:
    churn = rows(dataset, features, "churn_7d")
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(np.nan_to_num(churn.inputs, nan=-1.0).astype(np.float64), churn.labels.astype(int))
    exported = to_onnx(model, churn.inputs[:1].astype(np.float64), options={"zipmap": False})
    described = card(
        features, {"name": "churn_7d", "kind": "probability", "output": "probabilities", "column": 1}, missing=-1
    )
    got = served(dataset, exported.SerializeToString(), described)
    asked = np.nan_to_num(churn.asked, nan=-1.0).astype(np.float64)
    np.testing.assert_allclose(got, model.predict_proba(asked)[:, 1], atol=PARITY_TOLERANCE)


def test_an_input_for_each_column_as_data_frames_have_it(dataset: Dataset, features: tuple[str, ...]) -> None:
    churn = rows(dataset, features, "churn_7d")
    known = np.nan_to_num(churn.inputs)
    weights = np.linspace(-0.5, 0.5, len(features)).astype(np.float32)
    # The inputs come in another order than the card's.
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in sorted(features)]
    nodes = [
        helper.make_node("Concat", list(features), ["together"], axis=1),
        helper.make_node("MatMul", ["together", "w"], ["score"]),
    ]
    output = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "g", inputs, [output], [numpy_helper.from_array(weights[:, None], "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    teacher = import_model(
        "frame", model.SerializeToString(), card(features, {"name": "churn_7d", "kind": "logit"}, missing=0), dataset
    )
    np.testing.assert_allclose(teacher.links(known)[:, 0], known @ weights, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("framework", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("name", ["return_24h", "playtime_7d_hours"])
def test_trees_of_other_libraries(dataset: Dataset, features: tuple[str, ...], framework: str, name: str) -> None:
    wanted = rows(dataset, features, name)
    binary = wanted.behaviour.is_binary
    model: Any
    if framework == "lightgbm":
        model = (lightgbm.LGBMClassifier if binary else lightgbm.LGBMRegressor)(n_estimators=8, verbose=-1, n_jobs=1)
        convert = onnxmltools.convert_lightgbm
    else:
        model = (xgboost.XGBClassifier if binary else xgboost.XGBRegressor)(n_estimators=8, max_depth=4, n_jobs=1)
        convert = onnxmltools.convert_xgboost
    labels = wanted.labels.astype(int) if binary else np.log1p(wanted.labels)
    model.fit(wanted.inputs, labels)
    exported = convert(model, initial_types=[("input", TreeInput([None, len(features)]))])
    described = card(features, {"name": name, "kind": "probability" if binary else "log1p"}, input="input")
    got = served(dataset, exported.SerializeToString(), described)
    wants = model.predict_proba(wanted.asked)[:, 1] if binary else np.expm1(np.maximum(model.predict(wanted.asked), 0))
    # LightGBM keeps thresholds in double, ONNX in single precision: a value that lies on one may go the other way.
    assert np.mean(np.abs(got - wants) > PARITY_TOLERANCE * np.maximum(1, wants)) < 0.01


def test_amounts_may_be_values_and_several_behaviours_columns(dataset: Dataset, features: tuple[str, ...]) -> None:
    names = ("playtime_7d_hours", "sessions_7d")
    wanted = [rows(dataset, features, name) for name in names]
    known = np.nan_to_num(wanted[0].inputs)
    model = RandomForestRegressor(n_estimators=4, max_depth=6, random_state=0)
    model.fit(known, np.stack([one.labels for one in wanted], axis=1))
    exported = to_onnx(model, known[:1])
    described = card(features, *({"name": name, "kind": "value"} for name in names), missing=0)
    teacher = import_model("forest", exported.SerializeToString(), described, dataset)
    test = dataset.rows(Split.TEST)
    expected = model.predict(np.nan_to_num(wanted[0].asked))
    links = links_of(teacher, dataset, test)
    for column, behaviour in enumerate(teacher.card.behaviours):
        np.testing.assert_allclose(from_link(links[:, column], behaviour), expected[:, column], rtol=1e-3, atol=1e-3)
        labels = dataset.labels[:, [known.name for known in dataset.behaviours].index(behaviour.name)]
        validation = dataset.rows(Split.VALIDATION)
        reached = quality(links_of(teacher, dataset, validation)[:, column], labels[validation], behaviour)
        assert teacher.card.validation_quality[behaviour.name] == reached


def test_calibration_is_applied_on_the_logit_scale(dataset: Dataset) -> None:
    model = linear(WEIGHTS, bias=0.3).SerializeToString()
    calibrated = CHURN | {"calibration": {"temperature": 2.0, "bias": -0.5}}
    plain = import_model("plain", model, card(TWO, CHURN, missing=0), dataset)
    mild = import_model("mild", model, card(TWO, calibrated, missing=0), dataset)
    test = dataset.rows(Split.TEST)
    links = links_of(plain, dataset, test)
    np.testing.assert_allclose(links_of(mild, dataset, test), links / 2 - 0.5, rtol=1e-5, atol=1e-5)
    # Neither changes who is thought to be more likely: the quality is the same, ties of rounded numbers aside.
    assert mild.card.validation_quality == pytest.approx(plain.card.validation_quality, abs=1e-4)


def test_certainty_has_a_finite_logit(dataset: Dataset) -> None:
    graph = linear(matrix((0.0,), (0.0,)), bias=1.0)
    teacher = import_model(
        "sure", graph.SerializeToString(), card(TWO, CHURN | {"kind": "probability"}, missing=0), dataset
    )
    assert teacher.links(np.zeros((1, 2), dtype=np.float32))[0, 0] == pytest.approx(np.log(1e7), rel=1e-5)


def test_whole_numbers_are_fed_where_the_model_wants_them(dataset: Dataset) -> None:
    model = linear(WEIGHTS, element=TensorProto.INT64).SerializeToString()
    with pytest.raises(FusionError, match=r"missing: got nan, expected a number: the input x takes whole numbers"):
        import_model("whole", model, card(TWO, CHURN), dataset)
    teacher = import_model("whole", model, card(TWO, CHURN, missing=-1), dataset)
    answers = teacher.links(matrix((2.9, 100.0), (np.nan, 100.0)))[:, 0]
    np.testing.assert_allclose(answers, [2 * 0.01 - 0.2, -0.01 - 0.2], rtol=1e-5)


def test_the_same_model_and_card_give_the_same_bytes(dataset: Dataset) -> None:
    made = [
        import_model("one", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN, missing=0), dataset) for _ in "ab"
    ]
    assert made[0].model == made[1].model
    assert made[0].card == made[1].card


@pytest.mark.parametrize(
    ("described", "message"),
    [
        (card(("sessions_7d_", "tenure_days"), CHURN), "features: got sessions_7d_; did you mean 'sessions_7d'"),
        (card(TWO, CHURN | {"name": "churn_8d"}), "behaviours: got churn_8d; did you mean 'churn_7d'"),
        (card(TWO, CHURN | {"kind": "value"}), "kind of churn_7d: got value, expected probability or logit"),
        (card(TWO, CHURN | {"name": "sessions_7d"}), "kind of sessions_7d: got logit, expected value or log1p"),
        (card((*TWO, "sessions_1d"), CHURN), "inputs: got x of 2 columns, expected one input of 3 columns"),
        (card(TWO, CHURN, input="z"), "inputs: got x of 2 columns, expected z of 2 columns"),
        (card(TWO, CHURN | {"output": "yy"}), "churn_7d: got output yy; did you mean 'y'"),
        (card(TWO, CHURN | {"column": 1}), "churn_7d: got column 1, expected one of the 1 columns of y"),
        (
            card(TWO, CHURN, CHURN | {"name": "churn_14d"}),
            r"churn_7d: got 2 behaviour\(s\) for the 1 columns of y, expected one column for each",
        ),
        (card(TWO, CHURN | {"kind": "probability"}, missing=0), "churn_7d: got values from .*kind: logit"),
        (card(TWO, CHURN), "churn_7d: got NaN or infinity for .* validation rows.*missing: 0"),
    ],
)
def test_a_card_that_is_not_of_the_graph_or_the_dataset(dataset: Dataset, described: ImportCard, message: str) -> None:
    if described.features == TWO and described.missing is None and described.input is None:
        dataset = replace(dataset, features=dataset.features.copy())
        dataset.features[:, dataset.feature_names.index("tenure_days")] = np.nan
    with pytest.raises(FusionError, match=message):
        import_model("studio", linear(WEIGHTS).SerializeToString(), described, dataset)


def test_two_columns_of_logits_have_to_be_told_apart(dataset: Dataset) -> None:
    model = linear(np.hstack((WEIGHTS, -WEIGHTS))).SerializeToString()
    with pytest.raises(FusionError, match=r"got 1 behaviour\(s\) for the 2 columns of y.*which `column`"):
        import_model("studio", model, card(TWO, CHURN, missing=0), dataset)
    first, second = (
        import_model("studio", model, card(TWO, CHURN | {"column": column}, missing=0), dataset) for column in (0, 1)
    )
    assert first.card.validation_quality["churn_7d"] == pytest.approx(1 - second.card.validation_quality["churn_7d"])


def test_several_outputs_have_to_be_told_apart(dataset: Dataset) -> None:
    model = linear(WEIGHTS)
    model.graph.output.append(helper.make_tensor_value_info("product", TensorProto.FLOAT, [None, 1]))
    with pytest.raises(FusionError, match=r"got no `output`, and 2 to choose from, expected .* one of y, product"):
        import_model("studio", model.SerializeToString(), card(TWO, CHURN, missing=0), dataset)
    chosen = card(TWO, CHURN | {"output": "product"}, missing=0)
    teacher = import_model("studio", model.SerializeToString(), chosen, dataset)
    assert teacher.links(matrix((100.0, 0.0)))[0, 0] == pytest.approx(1.0)


def test_a_name_that_is_none_is_refused(dataset: Dataset) -> None:
    with pytest.raises(FusionError, match="got the name My-Model, expected lower-case letters"):
        import_model("My-Model", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN), dataset)


def test_answers_that_are_no_numbers_are_told_wherever_they_are_asked_for(dataset: Dataset) -> None:
    teacher = import_model("studio", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN), dataset)
    spoilt = replace(dataset, features=dataset.features.copy())
    test = dataset.rows(Split.TEST)
    spoilt.features[test[:3], spoilt.feature_names.index("tenure_days")] = np.nan
    with pytest.raises(FusionError, match="got NaN or infinity for 3 of"):
        links_of(teacher, spoilt, test)


def test_infinite_weights_are_named_where_they_spoil_the_answers(dataset: Dataset) -> None:
    for weights in (matrix((np.inf,), (0.1,)), matrix((-np.inf,), (0.1,))):
        with pytest.raises(FusionError, match=r"got NaN or infinity for .* Its weight w holds infinity"):
            import_model("studio", linear(weights).SerializeToString(), card(TWO, CHURN, missing=0), dataset)


def test_an_infinite_number_that_spoils_nothing_is_no_fault(dataset: Dataset) -> None:
    model = linear(WEIGHTS)
    model.graph.initializer.append(numpy_helper.from_array(np.array([-np.inf, np.inf], dtype=np.float32), "bounds"))
    model.graph.node.insert(1, helper.make_node("Split", ["bounds"], ["low", "high"], num_outputs=2))
    del model.opset_import[0]
    model.opset_import.append(helper.make_opsetid("", 18))
    model.graph.node.insert(2, helper.make_node("Max", ["x32", "low"], ["within"]))
    model.graph.node[3].input[0] = "within"
    teacher = import_model("studio", model.SerializeToString(), card(TWO, CHURN, missing=0), dataset)
    assert teacher.links(matrix((100.0, 0.0)))[0, 0] == pytest.approx(1.0)


def test_a_dataset_without_validation_players_cannot_judge(dataset: Dataset) -> None:
    without = dataset.subset(np.flatnonzero(dataset.split != Split.VALIDATION).astype(np.int64))
    with pytest.raises(FusionError, match="got no validation players"):
        import_model("studio", linear(WEIGHTS).SerializeToString(), card(TWO, CHURN), without)
