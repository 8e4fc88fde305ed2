"""What a teacher is (`Teacher`, `TeacherCard`) and what makes one (`Trainer`, `Task`, `Fitted`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from fusion.errors import FusionError
from inference.contract.artifact import Sha256
from inference.contract.behaviours import Behaviour, Identifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.telemetry.dataset import Dataset

Progress = Callable[[float, str], None]
"""Told how far a fit has come, from 0 to 1, and a word about it."""


class TeacherCard(BaseModel):
    """`<name>.json`: what is known about the teacher in `<name>.onnx`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Identifier
    family: str
    behaviours: tuple[Behaviour, ...] = Field(min_length=1, description="columns of the output, in order")
    features: tuple[Identifier, ...] = Field(description="columns of the tabular input, in order; may be empty")
    uses_sequences: bool = Field(description="whether it reads the last sessions one by one")
    parameters: int = Field(ge=0, description="learned numbers; of trees, split thresholds and leaf values")
    seed: int
    settings: dict[str, JsonValue] = Field(description="of its family, every default spelled out")
    feature_version: int = Field(description="`inference.contract.features.FEATURE_VERSION` at training time")
    data_name: str
    data_sha256: str
    synthetic: bool = Field(description="trained on simulated players")
    validation_quality: dict[str, float] = Field(
        description="behaviour → AUC or R² on the validation players; left out where it is not defined"
    )
    onnx_sha256: Sha256

    @property
    def behaviour_names(self) -> tuple[str, ...]:
        """Names of the output columns, in order."""
        return tuple(behaviour.name for behaviour in self.behaviours)


class Teacher(Protocol):
    """A model that predicts one or more behaviours of a player: named features in, named behaviours out."""

    @property
    def card(self) -> TeacherCard:
        """What it is, what it reads and what it predicts."""
        ...

    def links(self, features: NDArray[np.float32], sequences: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Predict on the link scale (see `inference.contract.behaviours.to_link`).

        Args:
            features: (rows, len(card.features)), columns as the card names them; NaN where unknown.
            sequences: (rows, T, channels) of `inference.contract.features.compute_sequences`; needed only where
                the card says `uses_sequences`.

        Returns:
            (rows, len(card.behaviours)) logits of probabilities, log1p of amounts.
        """
        ...


class Settings(BaseModel):
    """What all families can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_rows: int = Field(default=260_000, ge=1, description="at most; whole players are left out above it")


@dataclass(frozen=True, slots=True)
class Task:
    """What a trainer learns from: some behaviours, the rows to fit and the rows that say when to stop.

    Attributes:
        dataset: everything that is known.
        behaviours: what to predict, each one of the dataset's.
        training: (rows,) int64 indices into the dataset.
        validation: (rows,) int64 indices into the dataset, of other players.

    Raises:
        FusionError: there are no training rows, or no validation rows.
    """

    dataset: Dataset
    behaviours: tuple[Behaviour, ...]
    training: NDArray[np.int64]
    validation: NDArray[np.int64]

    def __post_init__(self) -> None:
        self.dataset.require(self.training, "training")
        self.dataset.require(self.validation, "validation")

    def targets(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(rows, behaviours): 0 or 1 of a binary behaviour, log1p of an amount, NaN where censored."""
        position = {behaviour.name: index for index, behaviour in enumerate(self.dataset.behaviours)}
        labels = self.dataset.labels[rows][:, [position[behaviour.name] for behaviour in self.behaviours]]
        amounts = np.array([not behaviour.is_binary for behaviour in self.behaviours])
        return np.where(amounts, np.log1p(np.maximum(labels, 0)), labels).astype(np.float32)

    def usable_features(self) -> tuple[str, ...]:
        """Features that say anything about the training rows: known somewhere, and not the same everywhere.

        Raises:
            FusionError: none does.
        """
        features = self.dataset.features[self.training]
        low = np.min(features, axis=0, initial=np.inf, where=~np.isnan(features))
        high = np.max(features, axis=0, initial=-np.inf, where=~np.isnan(features))
        usable = tuple(name for name, varies in zip(self.dataset.feature_names, low < high, strict=True) if varies)
        if not usable:
            raise FusionError(
                where=f"features of dataset {self.dataset.name}",
                got=f"none that differs among {len(self.training)} training rows",
                expected="at least one that is known and not the same everywhere",
                fix="Give more players, or more features.",
            )
        return usable

    def features(self, rows: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.float32]:
        """(rows, names) of the dataset, NaN where unknown."""
        position = {name: index for index, name in enumerate(self.dataset.feature_names)}
        return self.dataset.features[rows][:, [position[name] for name in names]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a trainer returns: the graph and the part of the card that only the trainer knows.

    The graph's inputs are "features" (rows, features) and, where `uses_sequences`, "sequences" (rows, T, channels);
    its one output is "links" (rows, behaviours); all float32. Imputation and scaling are inside.
    """

    model: bytes
    features: tuple[str, ...]
    uses_sequences: bool
    parameters: int


SettingsT = TypeVar("SettingsT", bound=Settings)


class Trainer(Protocol[SettingsT]):
    """A family of teachers: makes one from a task."""

    @property
    def settings_type(self) -> type[SettingsT]:
        """What this family can be told, with its defaults."""
        ...

    @property
    def memorises(self) -> bool:
        """Whether it answers its own training rows far better than others, so that it must be asked out of fold."""
        ...

    @property
    def uses_sequences(self) -> bool:
        """Whether it reads the last sessions one by one, which only a session log has."""
        ...

    def fit(self, task: Task, settings: SettingsT, seed: int, progress: Progress) -> Fitted:
        """Train one teacher. The same arguments on the same machine give the same bytes."""
        ...


AnyTrainer = Trainer[Any]
"""A trainer whose settings were checked against its own `settings_type`."""


def silent(fraction: float, note: str) -> None:
    """A `Progress` that tells nobody."""


def part_of(progress: Progress, index: int, parts: int) -> Progress:
    """The progress of one of several equal parts of a job."""

    def told(done: float, note: str) -> None:
        progress((index + done) / parts, note)

    return told
