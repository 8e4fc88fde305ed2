"""Datasets: features, labels and a split by player, ready to train on; one row per session, or per row of a table."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.errors import FusionError
from fusion.telemetry import store
from fusion.telemetry.labels import behaviours, compute_labels
from fusion.telemetry.log import Cleaning
from inference.contract.behaviours import Behaviour
from inference.contract.features import FEATURE_NAMES, compute, compute_sequences
from inference.contract.history import CleaningReport, HistoryBatch, SessionTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fusion.telemetry.log import SessionLog

_TEST_BELOW: Final = 51
_VALIDATION_BELOW: Final = 76
_SESSION_ARRAYS: Final = ("start_seconds", "duration_seconds", "coop")
_HISTORY_ARRAYS: Final = ("begin", "end", "as_of_seconds")
_ROW_ARRAYS: Final = ("features", "labels", "player", "split", "fold")


class Split(IntEnum):
    """Which players a row belongs to: about 70 % train, 10 % validate, 20 % test."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, slots=True)
class TableCleaning:
    """What became of every row of a table."""

    rows: int
    no_player: int
    repeated_player: int
    not_kept: int

    @property
    def dropped(self) -> dict[str, int]:
        """Reason → rows taken away."""
        return {name: count for name, count in asdict(self).items() if name != "rows"}

    @property
    def kept(self) -> int:
        """Rows left."""
        return self.rows - sum(self.dropped.values())


@dataclass(frozen=True, slots=True)
class Dataset:
    """One row per (player, session), and the moment of prediction is the end of that session; or one row per player of
    a table, which knows no sessions.

    Attributes:
        name: e.g. `gran_turismo_sport`.
        synthetic: whether a simulator made the log.
        notice: attribution that the data's licence asks for; empty otherwise.
        sha256: of the source file (of the generated arrays where it was simulated).
        behaviours: columns of `labels`: probabilities first, then amounts.
        feature_names: columns of `features`.
        features: (rows, features) float32; NaN = not known.
        recorded: the histories, one per row, all in one session table; None of a table or drawn rows.
        labels: (rows, behaviours) float32, served scale (0/1, hours, counts); NaN = censored.
        player: (rows,) int64, index of the player; for the bootstrap over players.
        split: (rows,) int8 of `Split`.
        fold: (rows,) int8, 0 or 1: two halves of the players, for cross-fitting.
        cleaning: what was dropped from the file, and why.
        censored: behaviour → rows without a label.
    """

    name: str
    synthetic: bool
    notice: str
    sha256: str
    behaviours: tuple[Behaviour, ...]
    feature_names: tuple[str, ...]
    features: NDArray[np.float32]
    recorded: HistoryBatch | None
    labels: NDArray[np.float32]
    player: NDArray[np.int64]
    split: NDArray[np.int8]
    fold: NDArray[np.int8]
    cleaning: Cleaning | TableCleaning
    censored: dict[str, int]

    def __len__(self) -> int:
        return len(self.player)

    @property
    def histories(self) -> HistoryBatch:
        """One per row, all in one session table.

        Raises:
            FusionError: the dataset has no sessions: a table, or drawn from statistics.
        """
        if self.recorded is None:
            raise FusionError(
                f"dataset {self.name}",
                got="rows without sessions: a table, or drawn from statistics",
                expected="a session log: gru and tcn read a player's last sessions one by one",
                fix="Leave such teachers out: boosted, mlp and logistic ones need no sessions.",
            )
        return self.recorded

    def rows(self, split: Split) -> NDArray[np.int64]:
        """Indices of the rows of one split, ascending."""
        return np.flatnonzero(self.split == split).astype(np.int64)

    def require(self, rows: NDArray[np.int64], players: str) -> None:
        """Refuse to go on without some of the rows.

        Args:
            rows: indices of rows.
            players: whose they are: "training", "validation", "test".

        Raises:
            FusionError: there is none.
        """
        if len(rows) == 0:
            raise FusionError(
                f"dataset {self.name}",
                got=f"no {players} players",
                expected="at least one",
                fix="Give a log of more players.",
            )

    def sequences(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(len(rows), SEQUENCE_LENGTH, channels) float32: the last sessions of those rows, oldest first.

        Raises:
            FusionError: the dataset has no sessions: a table, or drawn from statistics.
        """
        return compute_sequences(_take(self.histories, rows))

    def subset(self, rows: NDArray[np.int64]) -> Dataset:
        """The same dataset with those rows only; histories stay whole, `censored` is counted anew."""
        labels = self.labels[rows]
        return replace(
            self,
            features=self.features[rows],
            recorded=None if self.recorded is None else _take(self.recorded, rows),
            labels=labels,
            player=self.player[rows],
            split=self.split[rows],
            fold=self.fold[rows],
            censored=censored(self.behaviours, labels),
        )

    def of_behaviour(self, name: str, called: str | None = None) -> Dataset:
        """The same rows, with the labels of one behaviour alone; by another name where it is called otherwise."""
        called = called or name
        column = [behaviour.name for behaviour in self.behaviours].index(name)
        return replace(
            self,
            behaviours=(self.behaviours[column].model_copy(update={"name": called}),),
            labels=np.ascontiguousarray(self.labels[:, column : column + 1]),
            censored={called: self.censored[name]},
        )

    def save(self, folder: Path) -> None:
        """Write the dataset into `folder`, whole or not at all; a dataset that is there is replaced.

        Raises:
            StoreError: `folder` holds something else, or cannot be written.
        """
        arrays: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in _ROW_ARRAYS}
        if self.recorded is not None:
            arrays |= {name: getattr(self.recorded.sessions, name) for name in _SESSION_ARRAYS}
            arrays |= {name: getattr(self.recorded, name) for name in _HISTORY_ARRAYS}
        store.write(
            folder,
            arrays,
            {
                "name": self.name,
                "synthetic": self.synthetic,
                "notice": self.notice,
                "sha256": self.sha256,
                "behaviours": [behaviour.model_dump(mode="json") for behaviour in self.behaviours],
                "feature_names": list(self.feature_names),
                "cleaning": asdict(self.cleaning),
                "censored": self.censored,
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Read a dataset that `save` wrote.

        Raises:
            StoreError: there is none, it is damaged, or its features are of another version.
        """
        arrays, about = store.read(folder)
        try:
            return cls._of(arrays, about)
        except (KeyError, TypeError, ValueError) as error:
            raise store.damaged(folder, error) from error

    @classmethod
    def _of(cls, arrays: dict[str, Any], about: dict[str, Any]) -> Dataset:
        recorded, cleaning = None, about["cleaning"]
        if "sessions" in cleaning:
            sessions = SessionTable(*(arrays[name] for name in _SESSION_ARRAYS))
            recorded = HistoryBatch(sessions, *(arrays[name] for name in _HISTORY_ARRAYS))
        return cls(
            name=about["name"],
            synthetic=about["synthetic"],
            notice=about["notice"],
            sha256=about["sha256"],
            behaviours=tuple(Behaviour.model_validate(behaviour) for behaviour in about["behaviours"]),
            feature_names=tuple(about["feature_names"]),
            recorded=recorded,
            cleaning=TableCleaning(**cleaning)
            if recorded is None
            else Cleaning(**cleaning | {"sessions": CleaningReport(**cleaning["sessions"])}),
            censored=about["censored"],
            **{name: arrays[name] for name in _ROW_ARRAYS},
        )


def build(log: SessionLog, *, split: int = 0) -> Dataset:
    """Features and labels of every session of a cleaned log.

    Args:
        log: what was read or simulated.
        split: which of eight independent splits of the players; another one shows how far a result depends on them.
    """
    histories = _histories(log)
    labels = compute_labels(log)
    labelled = behaviours(log)
    parts, fold = split_players(log.player_ids, split)
    return Dataset(
        name=log.name,
        synthetic=log.synthetic,
        notice=log.notice,
        sha256=log.sha256,
        behaviours=labelled,
        feature_names=FEATURE_NAMES,
        features=compute(histories),
        recorded=histories,
        labels=labels,
        player=log.player,
        split=parts[log.player],
        fold=fold[log.player],
        cleaning=log.cleaning,
        censored=censored(labelled, labels),
    )


def split_players(ids: Sequence[str], split: int) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Share players out by the MD5 of their ids: stable between runs, machines and files.

    Args:
        ids: of the players, as the file spells them.
        split: which of eight independent splits.

    Returns:
        (players,) int8 of `Split`, and (players,) int8, 0 or 1, the half for cross-fitting.
    """
    digests = np.array([_digest(player, split) for player in ids], dtype=np.uint8).reshape(-1, 2)
    return _split(digests[:, 0]), (digests[:, 1] % 2).astype(np.int8)


def censored(labelled: tuple[Behaviour, ...], labels: NDArray[np.float32]) -> dict[str, int]:
    """Behaviour → rows without a label: labels (rows, behaviours)."""
    counts = np.isnan(labels).sum(axis=0)
    return {behaviour.name: int(count) for behaviour, count in zip(labelled, counts, strict=True)}


def _histories(log: SessionLog) -> HistoryBatch:
    rows = np.arange(len(log.sessions), dtype=np.int64)
    begin = np.searchsorted(log.player, log.player, side="left").astype(np.int64)
    return HistoryBatch(log.sessions, begin, rows + 1, log.sessions.end_seconds)


def _digest(player: str, split: int) -> tuple[int, int]:
    """Two bytes of the id's MD5. No secret depends on it."""
    digest = hashlib.md5(player.encode(), usedforsecurity=False).digest()
    return digest[2 * split], digest[2 * split + 1]


def _split(byte: NDArray[np.uint8]) -> NDArray[np.int8]:
    split = np.where(byte < _TEST_BELOW, Split.TEST, np.where(byte < _VALIDATION_BELOW, Split.VALIDATION, Split.TRAIN))
    return split.astype(np.int8)


def _take(histories: HistoryBatch, rows: NDArray[np.int64]) -> HistoryBatch:
    return HistoryBatch(histories.sessions, histories.begin[rows], histories.end[rows], histories.as_of_seconds[rows])
