"""A small problem for steps: rows whose answers a network can learn in a second."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from fusion.distill.student import Rows
from fusion.encoding import PiecewiseLinearEncoding
from fusion.network import FusedNetwork, Widths
from fusion.steps.step import Work
from inference.contract.behaviours import DEFAULT_BEHAVIOURS

BEHAVIOURS = tuple(DEFAULT_BEHAVIOURS[name] for name in ("churn_7d", "return_24h", "playtime_7d_hours"))
FEATURES = 9


def features(rows: int, seed: int) -> NDArray[np.float32]:
    """(rows, 9) skewed numbers, some missing; the last two say nothing about the targets."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 10.0, size=(rows, FEATURES)).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    return values


def targets(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, 3) probabilities and an amount, from the first seven features."""
    known = np.log1p(np.where(np.isnan(values), 7.0, values))
    first = 1.0 / (1.0 + np.exp(-(known[:, 0] - known[:, 1] * 0.5 + 0.3 * known[:, 4] - 1.5)))
    second = 1.0 / (1.0 + np.exp(-(known[:, 2] - known[:, 3])))
    return np.stack((first, second, 0.5 * known[:, 5] + 0.5 * known[:, 6]), axis=1).astype(np.float32)


def small_work(seed: int = 0, rows: int = 1500) -> Work:
    """Work that nothing has been done on yet."""
    training, validation = features(rows, seed), features(500, seed + 1)
    encoding = PiecewiseLinearEncoding.fit(training, tuple(f"feature_{i}" for i in range(FEATURES)), 5)
    return Work(
        network=FusedNetwork(encoding, len(BEHAVIOURS), Widths(24, 16, 4), seed),
        columns=np.arange(FEATURES),
        behaviours=BEHAVIOURS,
        training=Rows(torch.from_numpy(training), torch.from_numpy(targets(training))),
        validation=Rows(torch.from_numpy(validation), torch.from_numpy(targets(validation))),
        seed=seed,
    )
