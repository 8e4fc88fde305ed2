"""The metric under which a weight tensor is decomposed: what an error in each direction costs.

A plain decomposition treats all errors alike. What counts is the error of the network's output: an error in a direction
that inputs never take costs nothing, and neither does one that the output does not feel. To second order the cost of
replacing W by W' is ‖R (W - W') L‖² with L Lᵀ the second moment of the layer's input and Rᵀ R that of the gradient at
its output (Martens & Grosse 2015, arXiv:1503.05671). Whitening the input side alone, as SVD-LLM does, hurts small ReLU
networks.

A tensor has one such matrix per mode; the mode's error is measured after multiplication by the matrix's square root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import tensorly as tl
from tensorly.tenalg import multi_mode_dot

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHRINKAGE: Final = 1e-4
"""Share of the mean eigenvalue added to every eigenvalue: dead units make a second moment singular."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One symmetric positive definite square root per mode; None where errors of a mode all count alike.

    Attributes:
        roots: per mode, (size, size) float64 or None.
    """

    roots: tuple[NDArray[np.float64] | None, ...]

    @classmethod
    def plain(cls, modes: int) -> Metric:
        """The Euclidean metric."""
        return cls((None,) * modes)

    @classmethod
    def from_second_moments(cls, *moments: NDArray[np.float64] | None) -> Metric:
        """The metric of second moments E[v vᵀ]: of inputs along input modes, of gradients along output modes.

        Each is shrunk towards a multiple of the identity (`SHRINKAGE`) and scaled to a mean eigenvalue of one, so that
        its scale, which no decomposition depends on, cannot harm the numerics.
        """
        return cls(tuple(None if moment is None else _root(moment) for moment in moments))

    def whiten(self, tensor: NDArray[np.float64]) -> NDArray[np.float64]:
        """The tensor in coordinates in which all errors count alike."""
        matrices = [root for root in self.roots if root is not None]
        modes = [mode for mode, root in enumerate(self.roots) if root is not None]
        return np.asarray(multi_mode_dot(tensor, matrices, modes=modes)) if matrices else tensor

    def unwhiten(self, factor: NDArray[np.float64], mode: int) -> NDArray[np.float64]:
        """A factor (size, rank) of mode `mode` of a whitened tensor, back in the original coordinates."""
        root = self.roots[mode]
        return factor if root is None else np.asarray(np.linalg.solve(root, factor))

    def error(self, tensor: NDArray[np.float64], approximation: NDArray[np.float64]) -> float:
        """Relative error ‖tensor - approximation‖ / ‖tensor‖ in this metric."""
        size = float(tl.norm(self.whiten(tensor)))
        return float(tl.norm(self.whiten(tensor - approximation))) / size if size else 0.0


def _root(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    symmetric = 0.5 * (moment + moment.T).astype(np.float64)
    mean = float(np.trace(symmetric)) / len(symmetric)
    if not mean > 0.0:
        return np.eye(len(symmetric))
    values, vectors = np.linalg.eigh(symmetric / mean + SHRINKAGE * np.eye(len(symmetric)))
    return np.asarray((vectors * np.sqrt(np.maximum(values, SHRINKAGE))) @ vectors.T)


def kronecker_moments(
    moment: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The two second moments whose Kronecker product is nearest to that of a flattened pair of modes.

    Partial traces: each mode's moment averaged over the other; exact where the joint moment is a Kronecker product.

    Args:
        moment: (a * b, a * b) second moment of inputs of shape (a, b), flattened row by row.
        shape: (a, b).

    Returns:
        (a, a) and (b, b).
    """
    first, second = shape
    joint = moment.reshape(first, second, first, second)
    return np.einsum("ikjk->ij", joint) / second, np.einsum("kikj->ij", joint) / first
