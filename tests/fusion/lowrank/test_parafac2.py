"""PARAFAC2: planted layers of different widths are recovered, the metric counts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fusion.errors import FusionError
from fusion.lowrank.metric import Metric
from fusion.lowrank.parafac2 import decompose

WIDTHS, IN, RANK = (8, 12, 10, 9), 7, 2


def _planted(seed: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    shared, columns = rng.normal(size=(RANK, RANK)), rng.normal(size=(IN, RANK))
    found = []
    for width in WIDTHS:
        rows = np.linalg.qr(rng.normal(size=(width, RANK)))[0] @ shared
        found.append((rows * rng.uniform(0.5, 2.0, size=RANK)) @ columns.T)
    return found


def _error(
    matrices: list[NDArray[np.float64]], found: tuple[NDArray[np.float64], ...], root: NDArray[np.float64]
) -> float:
    lost = sum(float(np.square((a - b) @ root).sum()) for a, b in zip(matrices, found, strict=True))
    return lost / sum(float(np.square(a @ root).sum()) for a in matrices)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("plain", [True, False])
def test_planted_layers_of_different_widths_are_recovered(seed: int, plain: bool) -> None:
    matrices = _planted(seed)
    half = np.random.default_rng(seed).normal(size=(IN, 3 * IN))
    metric = Metric.plain(1) if plain else Metric.from_second_moments(half @ half.T)
    found = decompose(matrices, RANK, metric)
    assert _error(matrices, found.to_matrices(), np.eye(IN)) ** 0.5 < 0.02
    assert found.numbers == sum(WIDTHS) * RANK + len(WIDTHS) * RANK + IN * RANK


def test_the_metric_of_the_inputs_counts() -> None:
    rng = np.random.default_rng(5)
    matrices = [rng.normal(size=(width, IN)) for width in WIDTHS]
    moment = np.diag(10.0 ** np.linspace(-2, 2, IN))
    metric = Metric.from_second_moments(moment)
    (root,) = metric.roots
    assert root is not None
    weighed, plain = (decompose(matrices, 2, each).to_matrices() for each in (metric, Metric.plain(1)))
    assert _error(matrices, weighed, root) < _error(matrices, plain, root)


def test_a_rank_above_the_narrowest_layer_is_refused() -> None:
    with pytest.raises(FusionError, match="1 to 7"):
        decompose(_planted(0), 8, Metric.plain(1))
