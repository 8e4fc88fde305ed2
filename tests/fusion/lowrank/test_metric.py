"""The metric: what whitening measures, and that it is undone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fusion.lowrank.metric import Metric, kronecker_moments


def _moment(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    root = rng.normal(size=(size, 3 * size))
    return np.asarray(root @ root.T / (3 * size))


def test_error_of_a_matrix_is_the_two_sided_error_of_the_layer() -> None:
    rng = np.random.default_rng(0)
    weight, change = rng.normal(size=(6, 9)), rng.normal(size=(6, 9))
    gradients, inputs = _moment(6, rng), _moment(9, rng)
    metric = Metric.from_second_moments(gradients, inputs)

    def cost(error: NDArray[np.float64]) -> float:
        return float(np.einsum("oi,ij,pj,op->", error, inputs, error, gradients))

    expected = np.sqrt(cost(change) / cost(weight))
    # Shrinkage adds 1e-4 of the mean eigenvalue to each eigenvalue.
    assert metric.error(weight, weight - change) == pytest.approx(expected, rel=1e-2)


def test_plain_metric_is_the_frobenius_norm() -> None:
    rng = np.random.default_rng(1)
    tensor, other = rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 5))
    expected = np.linalg.norm(tensor - other) / np.linalg.norm(tensor)
    assert Metric.plain(3).error(tensor, other) == pytest.approx(expected, rel=1e-12)


def test_unwhitening_undoes_whitening() -> None:
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(7, 4))
    metric = Metric.from_second_moments(_moment(7, rng), None)
    np.testing.assert_allclose(metric.unwhiten(metric.whiten(matrix), 0), matrix, atol=1e-10)


def test_units_that_are_never_active_do_no_harm() -> None:
    moment = np.zeros((5, 5))
    moment[0, 0] = 2.0
    metric = Metric.from_second_moments(moment, None)
    factor = np.eye(5)
    assert np.isfinite(metric.unwhiten(metric.whiten(factor), 0)).all()
    assert np.isfinite(Metric.from_second_moments(np.zeros((5, 5)), None).whiten(factor)).all()


def test_kronecker_moments_recover_a_kronecker_product_up_to_scale() -> None:
    rng = np.random.default_rng(3)
    first, second = _moment(3, rng), _moment(4, rng)
    found_first, found_second = kronecker_moments(np.kron(first, second).astype(np.float64), (3, 4))
    np.testing.assert_allclose(found_first / np.trace(found_first), first / np.trace(first), atol=1e-12)
    np.testing.assert_allclose(found_second / np.trace(found_second), second / np.trace(second), atol=1e-12)


def test_kronecker_moments_follow_the_flattening_of_the_input() -> None:
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(500, 3, 4)) * np.array([1.0, 5.0, 1.0])[:, None]
    flat = inputs.reshape(500, -1)
    moment: NDArray[np.float64] = np.cov(flat.T, bias=True)
    first, _ = kronecker_moments(moment, (3, 4))
    assert np.argmax(np.diag(first)) == 1
    centred = inputs - inputs.mean(axis=0)
    np.testing.assert_allclose(first, np.einsum("nik,njk->ij", centred, centred) / 500 / 4, atol=1e-10)
