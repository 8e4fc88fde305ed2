"""Piecewise-linear (quantile) encoding of numeric features [Gorishniy et al. 2022, arXiv:2203.05556].

It carries over what trees know: where along a feature things change. A linear layer over the encoding is, per feature
and hidden unit, a continuous piecewise-linear function with its knots at quantiles of the training players.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_BIN_SHARE: Final = 1e-6
_LEAST_BIN_WIDTH: Final = 1e-12
"""Narrower bins would have slopes that overflow, or that blow a rounding error up to a full bin."""


@dataclass(frozen=True, slots=True)
class PiecewiseLinearEncoding:
    """Feature x becomes `bins` numbers clip((x - lower) * slope, 0, 1): how far x has come through each bin.

    Attributes:
        features: names of the encoded columns.
        medians: (features,) float32, taken for missing values.
        knots: (bins + 1, features) float32, ascending: bin b lies between knots b and b + 1. A feature with few
            distinct values repeats its last one; a bin of no width stays empty.
    """

    features: tuple[str, ...]
    medians: NDArray[np.float32]
    knots: NDArray[np.float32]

    @property
    def bins(self) -> int:
        """Bins per feature."""
        return len(self.knots) - 1

    @property
    def lower(self) -> NDArray[np.float32]:
        """(bins, features) float32, where each bin begins."""
        return self.knots[:-1]

    @property
    def slope(self) -> NDArray[np.float32]:
        """(bins, features) float32, 1 / width; 0 for a bin of no width."""
        width = np.diff(self.knots, axis=0)
        return np.where(width > 0, np.float32(1.0) / np.where(width > 0, width, np.float32(1.0)), np.float32(0.0))

    @property
    def parameter_count(self) -> int:
        """Numbers stored."""
        return self.medians.size + self.knots.size

    @classmethod
    def fit(cls, features: NDArray[np.float32], names: tuple[str, ...], bins: int) -> PiecewiseLinearEncoding:
        """Place the knots at quantiles of the training rows, features that never vary left out.

        Args:
            features: (rows, names) float32, NaN where missing.
            names: of the columns.
            bins: per feature; a feature with fewer distinct quantiles uses fewer.
        """
        kept, medians, knots = [], [], []
        for name, column in zip(names, features.T, strict=True):
            known = column[np.isfinite(column)]
            if not known.size:
                continue
            edges = _knots(known, bins)
            if len(edges) < 2:
                continue
            kept.append(name)
            medians.append(np.median(known))
            knots.append(edges)
        padded = [np.pad(edges, (0, bins + 1 - len(edges)), mode="edge") for edges in knots]
        stacked = np.stack(padded, axis=1) if padded else np.zeros((bins + 1, 0), dtype=np.float32)
        return cls(tuple(kept), np.array(medians, dtype=np.float32), stacked)

    def select(self, index: NDArray[np.int64]) -> PiecewiseLinearEncoding:
        """The encoding of some of the features, in the order of `index`."""
        names = tuple(self.features[position] for position in index.tolist())
        return PiecewiseLinearEncoding(names, self.medians[index], self.knots[:, index])

    def encode(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encode in NumPy, for statistics and as an oracle.

        Args:
            features: (rows, features) float32, NaN where missing.

        Returns:
            (rows, bins, features) float32 in [0, 1]. Bins come before features: a runtime then encodes by repeating
            the feature row and one elementwise pass, twice as fast as the other way round.
        """
        known = np.where(np.isnan(features), self.medians, features)
        return np.asarray(np.clip((known[:, None, :] - self.lower) * self.slope, 0.0, 1.0))


def _knots(known: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Distinct observed quantiles, ascending; closer than float32 can tell apart over the range, they are one."""
    edges = np.unique(np.quantile(known, np.linspace(0.0, 1.0, bins + 1), method="inverted_cdf").astype(np.float64))
    width = _LEAST_BIN_SHARE * (edges[-1] - edges[0])
    apart = np.concatenate(([True], np.diff(edges) > max(width, _LEAST_BIN_WIDTH)))
    return edges[apart].astype(np.float32)
