from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inference.contract.errors import InvalidRequest
from inference.core import Core, Request, Response
from inference.engine import Engine
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from inference.contract.artifact import Manifest

FEATURES = ("recency_hours", "sessions_7d", "gap_1_hours")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return make_manifest(build_graph(3, BEHAVIOURS), FEATURES, BEHAVIOURS)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.from_bytes(build_graph(3, BEHAVIOURS))


class Failing:
    """An engine that raises where a row holds `poison`, and answers NaN where a row holds `sour`."""

    def __init__(self, engine: Engine, *, poison: float = -1.0, sour: float = -2.0) -> None:
        self._engine = engine
        self._poison = poison
        self._sour = sour
        self.runs = 0

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        self.runs += 1
        if (rows == self._poison).any():
            msg = "the engine cannot take this"
            raise RuntimeError(msg)
        outputs = self._engine.run(rows).copy()
        outputs[(rows == self._sour).any(axis=1)] = np.nan
        return outputs


def request_of(rows: Sequence[Sequence[float]], **changes: Any) -> Request:
    values = np.array(rows, dtype="<f4")
    return Request(values.tobytes(), len(values))._replace(**changes)


def values_of(answer: Response | InvalidRequest) -> NDArray[np.float32]:
    assert isinstance(answer, Response)
    columns = answer.request.columns
    width = len(BEHAVIOURS) if columns is None else len(columns)
    return np.frombuffer(answer.values, dtype="<f4").reshape(answer.request.rows, width)


def test_every_request_of_a_batch_gets_its_own_rows(engine: Engine, manifest: Manifest) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.exponential(size=(count, 3)).astype(np.float32) for count in (1, 5, 2, 64)]
    requests = [Request(part.tobytes(), len(part), request_id=str(i)) for i, part in enumerate(parts)]
    answers = Core(engine, manifest).predict(requests)
    for part, request, answer in zip(parts, requests, answers, strict=True):
        assert isinstance(answer, Response)
        assert answer.request is request
        assert not answer.degraded
        np.testing.assert_allclose(values_of(answer), engine.run(part), rtol=1e-5, atol=1e-6)


def test_only_the_columns_asked_for_come_in_the_order_asked(engine: Engine, manifest: Manifest) -> None:
    rows = [[1.0, 2.0, 3.0], [0.5, 0.0, 9.0]]
    (answer,) = Core(engine, manifest).predict([request_of(rows, columns=(6, 0))])
    np.testing.assert_array_equal(values_of(answer), engine.run(np.array(rows, np.float32))[:, [6, 0]])


def test_a_fault_stays_with_its_request(engine: Engine, manifest: Manifest) -> None:
    good = request_of([[1.0, 2.0, 3.0]])
    missing = request_of([[1.0, np.nan, 3.0]], nan_is_missing=True)
    unexplained = request_of([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]])
    infinite = request_of([[np.inf, 2.0, 3.0]], nan_is_missing=True)
    answers = Core(engine, manifest).predict([unexplained, good, infinite, missing])
    assert str(answers[0]) == (
        "values row 1, feature sessions_7d: got nan, expected a finite number. "
        "Set nan_is_missing if NaN marks a missing value."
    )
    assert str(answers[2]) == (
        "values row 0, feature recency_hours: got inf, expected a finite number, or NaN for a missing value."
    )
    np.testing.assert_allclose(values_of(answers[1]), engine.run(np.array([[1, 2, 3]], np.float32)), rtol=1e-5)
    expected = engine.run(np.array([[1, np.nan, 3]], np.float32))
    np.testing.assert_allclose(values_of(answers[3]), expected, rtol=1e-5)


def test_a_faulty_request_alone_never_reaches_the_engine(engine: Engine, manifest: Manifest) -> None:
    failing = Failing(engine)
    (answer,) = Core(failing, manifest).predict([request_of([[np.nan, 0, 0]])])
    assert isinstance(answer, InvalidRequest)
    assert failing.runs == 0


def test_what_the_engine_fails_on_is_answered_with_the_priors_and_nobody_else(
    engine: Engine, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = request_of([[1, 2, 3]]), request_of([[1, -1, 3], [1, 2, 3]], columns=(3, 1), request_id="r7")
    with caplog.at_level(logging.ERROR):
        answers = Core(Failing(engine), manifest).predict([good, bad])
    np.testing.assert_allclose(values_of(answers[0]), engine.run(np.array([[1, 2, 3]], np.float32)), rtol=1e-5)
    assert isinstance(answers[1], Response)
    assert answers[1].degraded
    priors = [manifest.priors[BEHAVIOURS[3].name], manifest.priors[BEHAVIOURS[1].name]]
    np.testing.assert_allclose(values_of(answers[1]), [priors, priors])
    assert "the engine failed" in caplog.text


def test_an_output_that_is_not_finite_degrades_its_request_only(engine: Engine, manifest: Manifest) -> None:
    good, bad = request_of([[1, 2, 3]]), request_of([[1, 2, 3], [-2, 0, 0]])
    answers = Core(Failing(engine), manifest).predict([bad, good])
    assert [isinstance(answer, Response) and answer.degraded for answer in answers] == [True, False]
    priors = [manifest.priors[behaviour.name] for behaviour in BEHAVIOURS]
    np.testing.assert_allclose(values_of(answers[0]), [priors, priors])


def test_an_engine_that_answers_another_shape_counts_as_failed(engine: Engine, manifest: Manifest) -> None:
    narrow = Engine.from_bytes(build_graph(3, BEHAVIOURS[:4]))
    (answer,) = Core(narrow, manifest).predict([request_of([[1, 2, 3]])])
    assert isinstance(answer, Response)
    assert answer.degraded
