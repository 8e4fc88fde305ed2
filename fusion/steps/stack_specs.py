"""Forms that only the behaviours' layers (behaviour, out, trunk) can have: a stack of matrices, one per behaviour.

What they share, and what a behaviour owns, differs from form to form; see `fusion.lowrank.stack_forms`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from fusion.lowrank import stack_forms
from fusion.lowrank.hosvd import TruncatedHosvd
from fusion.lowrank.metric import Metric
from fusion.lowrank.ranks import lowered_tucker
from fusion.steps.forms import FormSpec, Rank, rank_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fusion.lowrank.allocation import RankChoice, Slots
    from fusion.lowrank.form import Form


class _OneRank(FormSpec):
    rank: Rank

    @property
    def slots(self) -> Slots:
        """The rank."""
        return (self.rank,)

    def with_slots(self, slots: Slots) -> _OneRank:
        """Another rank."""
        return self.model_copy(update={"rank": slots[0]})


class Basis(_OneRank):
    """One side in a basis that all behaviours share; the other side is each one's own."""

    form: Literal["basis"] = "basis"
    shared: Literal["in", "out"] = Field(default="in", description="which side: what is read, or what is written")

    def lowered(self, shape: Sequence[int]) -> Basis:
        """At most the side's size, and the product of the others."""
        lowest = next(rank for rank in lowered_tucker(self._ranks, shape) if rank is not None)
        return self.model_copy(update={"rank": lowest})

    def numbers(self, shape: Sequence[int]) -> int:
        """The basis, and every behaviour's own coordinates in it."""
        behaviours, out, inputs = shape
        shared, own = (inputs, out) if self.shared == "in" else (out, inputs)
        return self.rank * (shared + behaviours * own)

    def fit(self, tensor: NDArray[np.float64], metric: Metric, seed: int) -> Form:
        """See `fusion.lowrank.stack_forms.basis`."""
        return stack_forms.basis(tensor, self.rank, metric, self.shared)

    def choice(self, name: str, tensor: NDArray[np.float64], metric: Metric, worth: float, seed: int) -> RankChoice:
        """From the singular values of the shared side."""
        side = 2 if self.shared == "in" else 1
        return rank_choice(self, name, tensor, worth, TruncatedHosvd(metric.whiten(tensor), [side]))

    @property
    def described(self) -> str:
        """For a report."""
        return f"basis of the {'inputs' if self.shared == 'in' else 'outputs'}, rank {self.rank}"

    @property
    def _ranks(self) -> tuple[int | None, ...]:
        return (None, None, self.rank) if self.shared == "in" else (None, self.rank, None)


class PerModelSvd(_OneRank):
    """Every behaviour in factors of its own: nothing is shared."""

    form: Literal["per_model_svd"] = "per_model_svd"

    def lowered(self, shape: Sequence[int]) -> PerModelSvd:
        """At most the smaller side."""
        return self.model_copy(update={"rank": min(self.rank, *shape[1:])})

    def numbers(self, shape: Sequence[int]) -> int:
        """Two factors per behaviour."""
        behaviours, out, inputs = shape
        return behaviours * self.rank * (out + inputs)

    def fit(self, tensor: NDArray[np.float64], metric: Metric, seed: int) -> Form:
        """See `fusion.lowrank.stack_forms.per_model_svd`."""
        return stack_forms.per_model_svd(tensor, self.rank, _each(tensor, metric))

    def choice(self, name: str, tensor: NDArray[np.float64], metric: Metric, worth: float, seed: int) -> RankChoice:
        """From every behaviour's singular values."""
        whitened = metric.whiten(tensor)
        return rank_choice(self, name, tensor, worth, _Tails(whitened, whitened))

    @property
    def described(self) -> str:
        """For a report."""
        return f"per-model svd of rank {self.rank}"


class Anchored(_OneRank):
    """One matrix that all behaviours share, their mean, and what each one adds to it in low rank."""

    form: Literal["anchored"] = "anchored"

    def lowered(self, shape: Sequence[int]) -> Anchored:
        """At most the smaller side."""
        return self.model_copy(update={"rank": min(self.rank, *shape[1:])})

    def numbers(self, shape: Sequence[int]) -> int:
        """The anchor, and two factors per behaviour."""
        behaviours, out, inputs = shape
        return out * inputs + behaviours * self.rank * (out + inputs)

    def fit(self, tensor: NDArray[np.float64], metric: Metric, seed: int) -> Form:
        """See `fusion.lowrank.stack_forms.anchored`."""
        return stack_forms.Anchored(*stack_forms.anchored(tensor, self.rank, _each(tensor, metric)))

    def choice(self, name: str, tensor: NDArray[np.float64], metric: Metric, worth: float, seed: int) -> RankChoice:
        """From the singular values of what every behaviour adds."""
        whitened = metric.whiten(tensor)
        return rank_choice(self, name, tensor, worth, _Tails(whitened - whitened.mean(axis=0), whitened))

    @property
    def described(self) -> str:
        """For a report."""
        return f"anchor, and per behaviour a delta of rank {self.rank}"


class _Tails:
    """What one rank for every matrix of a stack loses.

    Args:
        cut: (models, out, in) whitened, what is cut to a rank.
        whole: (models, out, in) whitened, what losses are shares of.
    """

    def __init__(self, cut: NDArray[np.float64], whole: NDArray[np.float64]) -> None:
        squares = np.square(np.linalg.svd(cut, compute_uv=False)).sum(axis=0)
        self._beyond = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
        self._total = float(np.square(whole).sum())
        self.highest = (len(squares),)

    def lost(self, ranks: Sequence[int]) -> float:
        """Share of the squared norm, 0 to 1."""
        return float(self._beyond[min(ranks[0], len(self._beyond) - 1)]) / self._total if self._total else 0.0


def _each(tensor: NDArray[np.float64], metric: Metric) -> list[Metric]:
    """The pooled metric of (out, in), for every behaviour."""
    return [Metric(metric.roots[1:])] * len(tensor)
