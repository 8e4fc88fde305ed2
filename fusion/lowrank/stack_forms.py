"""Forms of stacked layers (model, out, in) beside CP and Tucker, which `fusion.lowrank.cp` and `tucker` give.

- `per_model_svd`: W_m = U_m V_mᵀ; nothing is shared.
- `basis`: G_m Vᵀ or U G_m, one side shared [Basis Sharing: Wang et al. 2025, arXiv:2410.03765].
- `anchored`: W₀ + U_m V_mᵀ, for models of one ancestor [task vectors: Gargiulo et al. 2025, arXiv:2412.00081].
- `tucker.decompose(stack, (None, r, s))`: U G_m Vᵀ (Tucker-2); both sides shared, a small core per model.
- `tucker.decompose(stack, (1, None, None))`: c_m W₀; copies of a model are free.
- `cp.decompose(stack, r)`: U diag(c_m) Vᵀ; r numbers per model, and so is a new one (`onboarded`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from fusion.errors import FusionError
from fusion.lowrank import cp, tucker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.lowrank.metric import Metric


@dataclass(frozen=True, slots=True)
class PerModelSvd:
    """Every model has its own factors: nothing is shared.

    Attributes:
        left: (models, out, rank).
        right: (models, in, rank).
    """

    left: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Both factors."""
        return {"left": self.left, "right": self.right}

    @property
    def subscripts(self) -> dict[str, str]:
        """Both have the model."""
        return {"left": "abr", "right": "acr"}

    @property
    def components(self) -> dict[str, str]:
        """The rank of every model."""
        return {"r": "components"}

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> PerModelSvd:
        """Other factors."""
        return PerModelSvd(arrays["left"], arrays["right"])

    def to_tensor(self) -> NDArray[np.float64]:
        """(models, out, in)."""
        return np.asarray(np.einsum("abr,acr->abc", self.left, self.right))

    def balanced(self) -> PerModelSvd:
        """The same with every component of every model alike in both factors."""
        pairs = [cp.Cp((left, right)).balanced().factors for left, right in zip(self.left, self.right, strict=True)]
        return PerModelSvd(np.stack([left for left, _ in pairs]), np.stack([right for _, right in pairs]))


@dataclass(frozen=True, slots=True)
class Anchor:
    """One matrix that all models share.

    Attributes:
        matrix: (out, in).
    """

    matrix: NDArray[np.float64]

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The matrix."""
        return {"matrix": self.matrix}

    @property
    def subscripts(self) -> dict[str, str]:
        """It has no model."""
        return {"matrix": "bc"}

    @property
    def components(self) -> dict[str, str]:
        """None."""
        return {}

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> Anchor:
        """Another matrix."""
        return Anchor(arrays["matrix"])

    def to_tensor(self) -> NDArray[np.float64]:
        """(out, in): it stands for every model."""
        return self.matrix

    def balanced(self) -> Anchor:
        """Itself."""
        return self


@dataclass(frozen=True, slots=True)
class Anchored:
    """A common matrix, and what each model adds to it.

    Attributes:
        anchor: of all models.
        deltas: per model.
    """

    anchor: Anchor
    deltas: PerModelSvd

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Those of both."""
        return {**self.anchor.arrays, **self.deltas.arrays}

    @property
    def subscripts(self) -> dict[str, str]:
        """Those of both."""
        return {**self.anchor.subscripts, **self.deltas.subscripts}

    @property
    def components(self) -> dict[str, str]:
        """Of what a model adds."""
        return self.deltas.components

    @property
    def terms(self) -> tuple[tuple[str, ...], ...]:
        """The tensor is the sum of both."""
        return tuple(self.anchor.arrays), tuple(self.deltas.arrays)

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> Anchored:
        """Another matrix, other factors."""
        return Anchored(self.anchor.with_arrays(arrays), self.deltas.with_arrays(arrays))

    def to_tensor(self) -> NDArray[np.float64]:
        """(models, out, in)."""
        return self.anchor.to_tensor() + self.deltas.to_tensor()

    def balanced(self) -> Anchored:
        """The same with balanced factors."""
        return Anchored(self.anchor, self.deltas.balanced())


def per_model_svd(stack: NDArray[np.float64], rank: int, metrics: Sequence[Metric]) -> PerModelSvd:
    """The truncated singular value decomposition of every model, each in its own metric.

    Args:
        stack: (models, out, in).
        rank: of every model.
        metrics: per model, of the modes (out, in).

    Raises:
        FusionError: the rank is out of range.
    """
    found = [cp.decompose(matrix, rank, metric) for matrix, metric in zip(stack, metrics, strict=True)]
    return PerModelSvd(*(np.stack([form.factors[side] for form in found]) for side in (0, 1)))


def basis(stack: NDArray[np.float64], rank: int, metric: Metric, shared: Literal["out", "in"]) -> tucker.Tucker:
    """One side in a basis that all models share; the other side is each model's own.

    Args:
        stack: (models, out, in).
        rank: of the shared side.
        metric: of the modes (model, out, in); None for the model.
        shared: which side.
    """
    return tucker.decompose(stack, (None, rank, None) if shared == "out" else (None, None, rank), metric)


def anchored(
    stack: NDArray[np.float64], rank: int, metrics: Sequence[Metric], ancestor: NDArray[np.float64] | None = None
) -> tuple[Anchor, PerModelSvd]:
    """A common matrix, and what each model adds to it in low rank. The tensor is the sum of both.

    Args:
        stack: (models, out, in).
        rank: of what a model adds.
        metrics: per model, of the modes (out, in).
        ancestor: (out, in) the model that all were trained on from; their mean where left out.

    Raises:
        FusionError: the ancestor has another shape, or the rank is out of range.
    """
    anchor = stack.mean(axis=0) if ancestor is None else ancestor
    if anchor.shape != stack.shape[1:]:
        raise FusionError("ancestor of stacked models", got=f"shape {anchor.shape}", expected=f"{stack.shape[1:]}")
    return Anchor(anchor), per_model_svd(stack - anchor, rank, metrics)


def onboarded(form: cp.Cp, matrix: NDArray[np.float64], metric: Metric) -> cp.Cp:
    """A CP form of (model, out, in) with one more model, in its frozen factors: `rank` numbers, no retraining.

    They are those of the least error in the metric: weighted least squares in c of W = U diag(c) Vᵀ.

    Args:
        form: of the models there are.
        matrix: (out, in) weights of the new model.
        metric: of the modes (out, in), as the new model's data have it.
    """
    models, out, inputs = form.factors
    left, right = (
        factor if root is None else root @ factor for factor, root in zip((out, inputs), metric.roots, strict=True)
    )
    # Normal equations of a Khatri-Rao product: their matrix is that of its factors, entry by entry.
    system = (left.T @ left) * (right.T @ right)
    scalars = np.linalg.lstsq(system, np.einsum("or,oi,ir->r", left, metric.whiten(matrix), right), rcond=None)[0]
    return cp.Cp((np.vstack((models, scalars)), out, inputs))
