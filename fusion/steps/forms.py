"""The low-rank forms as a recipe names them, with their ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

from fusion.lowrank import cp, tensor_train, tucker
from fusion.lowrank.allocation import RankChoice, Slots
from fusion.lowrank.cp_curve import CpCurve
from fusion.lowrank.hosvd import TruncatedHosvd
from fusion.lowrank.ranks import highest_cp, lowered_cp, lowered_train, lowered_tucker

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fusion.lowrank.form import Form
    from fusion.lowrank.metric import Metric

Rank = Annotated[int, Field(ge=1)]


class FormSpec(BaseModel, ABC):
    """A form and its ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: str

    @property
    @abstractmethod
    def slots(self) -> Slots:
        """The ranks, but for modes that stay whole."""

    @abstractmethod
    def with_slots(self, slots: Slots) -> Self:
        """The same form with other ranks."""

    @abstractmethod
    def lowered(self, shape: Sequence[int]) -> Self:
        """With the nearest ranks that a tensor of that shape can have."""

    @abstractmethod
    def numbers(self, shape: Sequence[int]) -> int:
        """That the form of a tensor of that shape stores."""

    @abstractmethod
    def fit(self, tensor: NDArray[np.float64], metric: Metric, seed: int) -> Form:
        """The form of a tensor with the least error in a metric."""

    @abstractmethod
    def choice(self, name: str, tensor: NDArray[np.float64], metric: Metric, worth: float, seed: int) -> RankChoice:
        """All ranks that the form could have for this tensor; see `RankChoice`."""

    @property
    @abstractmethod
    def described(self) -> str:
        """In words."""


class Tucker(FormSpec):
    """A core and one factor per mode."""

    form: Literal["tucker"] = "tucker"
    ranks: tuple[Rank | None, ...] = Field(min_length=2, max_length=3, description="one per mode; null keeps it whole")

    @property
    def slots(self) -> Slots:
        """Ranks of the decomposed modes."""
        return tuple(rank for rank in self.ranks if rank is not None)

    def with_slots(self, slots: Slots) -> Tucker:
        """The same modes stay whole."""
        rest = iter(slots)
        return Tucker(ranks=tuple(None if rank is None else next(rest) for rank in self.ranks))

    def lowered(self, shape: Sequence[int]) -> Tucker:
        """At most each mode's size, and the product of the other ranks."""
        return Tucker(ranks=lowered_tucker(self.ranks, shape))

    def numbers(self, shape: Sequence[int]) -> int:
        """Core and factors."""
        pairs = list(zip(self.ranks, shape, strict=True))
        core = prod(size if rank is None else rank for rank, size in pairs)
        return core + sum(size * rank for rank, size in pairs if rank is not None)

    def fit(self, tensor: NDArray[np.float64], metric: Metric, seed: int) -> Form:
        """See `fusion.lowrank.tucker`."""
        return tucker.decompose(tensor, self.ranks, metric)

    def choice(self, name: str, tensor: NDArray[np.float64], metric: Metric, worth: float, seed: int) -> RankChoice:
        """From the higher-order singular values."""
        modes = [mode for mode, rank in enumerate(self.ranks) if rank is not None]
        curve = TruncatedHosvd(metric.whiten(tensor), modes)
        return rank_choice(self, name, tensor, worth, curve)

    @property
    def described(self) -> str:
        """For a report."""
        return f"tucker of ranks ({', '.join('whole' if rank is None else str(rank) for rank in self.ranks)})"


class Cp(FormSpec):
    """A sum of rank-one tensors; of a matrix, its truncated singular value decomposition."""

    form: Literal["cp"] = "cp"
    rank: Rank

    @property
    def slots(self) -> Slots:
        """The rank."""
        return (self.rank,)

    def with_slots(self, slots: Slots) -> Cp:
        """Another rank."""
        return Cp(rank=slots[0])

    def lowered(self, shape: Sequence[int]) -> Cp:
        """At most what is enough for any tensor of that shape."""
        return Cp(rank=lowered_cp(self.rank, shape))

    def numbers(self, shape: Sequence[int]) -> int:
        """One column per mode and component."""
        return self.rank * sum(shape)

    def fit(self, tensor: NDArray[np.float64], metric: Metric, seed: int) -> Form:
        """See `fusion.lowrank.cp`."""
        return cp.decompose(tensor, self.rank, metric, seed)

    def choice(self, name: str, tensor: NDArray[np.float64], metric: Metric, worth: float, seed: int) -> RankChoice:
        """Of a matrix from the singular values; otherwise from trial decompositions, which take their time."""
        curve = CpCurve(metric.whiten(tensor), seed)
        # Above this rank the tensor itself is smaller.
        highest = max(1, min(highest_cp(tensor.shape), tensor.size // sum(tensor.shape)))
        return rank_choice(self, name, tensor, worth, _CpSlots(curve, highest if tensor.ndim > 2 else curve.highest))

    @property
    def described(self) -> str:
        """For a report."""
        return f"cp of rank {self.rank}"


class TensorTrain(FormSpec):
    """A chain of cores, one per mode."""

    form: Literal["tensor_train"] = "tensor_train"
    ranks: tuple[Rank, ...] = Field(min_length=1, max_length=2, description="one between every two modes")

    @property
    def slots(self) -> Slots:
        """All ranks."""
        return self.ranks

    def with_slots(self, slots: Slots) -> TensorTrain:
        """Other ranks."""
        return TensorTrain(ranks=slots)

    def lowered(self, shape: Sequence[int]) -> TensorTrain:
        """At most what either core beside a bond can have."""
        return TensorTrain(ranks=lowered_train(self.ranks, shape))

    def numbers(self, shape: Sequence[int]) -> int:
        """All cores."""
        bonds = (1, *self.ranks, 1)
        return sum(bonds[mode] * size * bonds[mode + 1] for mode, size in enumerate(shape))

    def fit(self, tensor: NDArray[np.float64], metric: Metric, seed: int) -> Form:
        """See `fusion.lowrank.tensor_train`."""
        return tensor_train.decompose(tensor, self.ranks, metric)

    def choice(self, name: str, tensor: NDArray[np.float64], metric: Metric, worth: float, seed: int) -> RankChoice:
        """From the higher-order singular values: a train of three cores is a Tucker form with the middle mode whole."""
        modes = [0] if tensor.ndim == 2 else [0, 2]
        return rank_choice(self, name, tensor, worth, TruncatedHosvd(metric.whiten(tensor), modes))

    @property
    def described(self) -> str:
        """For a report."""
        return f"tensor train of ranks ({', '.join(map(str, self.ranks))})"


class Curve(Protocol):
    """What ranks lose of a tensor."""

    @property
    def highest(self) -> Slots:
        """Ranks that lose nothing."""
        ...

    def lost(self, ranks: Sequence[int]) -> float:
        """Share of the squared norm."""
        ...


class _CpSlots:
    """A CP curve as a curve over slots."""

    def __init__(self, curve: CpCurve, highest: int) -> None:
        self._curve, self.highest = curve, (highest,)

    def lost(self, ranks: Sequence[int]) -> float:
        return self._curve.lost(ranks[0])


def rank_choice(spec: FormSpec, name: str, tensor: NDArray[np.float64], worth: float, curve: Curve) -> RankChoice:
    """All ranks that a form could have, from what each of them loses."""
    return RankChoice(
        name=name,
        highest=curve.highest,
        lost=curve.lost,
        numbers=lambda slots: spec.with_slots(slots).numbers(tensor.shape),
        lowered=lambda slots: spec.with_slots(slots).lowered(tensor.shape).slots,
        dense=tensor.size,
        worth=worth,
    )


AnyForm = Annotated[Tucker | Cp | TensorTrain, Field(discriminator="form")]
