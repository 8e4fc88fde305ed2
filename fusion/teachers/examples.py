"""What a torch family learns from. Rows of one player share a window of sessions, read once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import torch
from torch import Tensor

from inference.contract.features import SEQUENCE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from inference.contract.history import HistoryBatch

_POOL_BATCHES: Final = 16


@dataclass(frozen=True, slots=True)
class Windows:
    """Which rows are read out of which window of T sessions.

    Attributes:
        rows: (rows,) int64 indices into the dataset, those of one window side by side.
        anchors: (windows,) int64 indices into the dataset: the row whose last T sessions are the window.
        window: (rows,) int64, index into `anchors`, ascending.
        place: (rows,) int64, where in the window the row's own last session is; T - 1 is the newest.
    """

    rows: NDArray[np.int64]
    anchors: NDArray[np.int64]
    window: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def own(cls, rows: NDArray[np.int64]) -> Windows:
        """Every row reads its own window: exactly what is served."""
        return cls(rows, rows, np.arange(len(rows)), np.full(len(rows), SEQUENCE_LENGTH - 1))

    @classmethod
    def shared(cls, histories: HistoryBatch, rows: NDArray[np.int64]) -> Windows:
        """Rows less than T / 2 sessions apart share the window of the newest of them.

        A causal encoder has read a row's whole past when it comes to the row's place, so one pass over T sessions
        serves up to T / 2 rows. A row sees at least the T / 2 + 1 sessions that end with its own, or its whole history.
        """
        rows = rows[np.lexsort((histories.end[rows], histories.begin[rows]))]
        begin, end = histories.begin[rows], histories.end[rows]
        last = np.append(begin[1:] != begin[:-1], True)
        newest = end[last][np.cumsum(np.append(False, last[:-1]))]
        step = (newest - end) // (SEQUENCE_LENGTH // 2)
        closes = np.append((begin[1:] != begin[:-1]) | (step[1:] != step[:-1]), True)
        window = np.cumsum(np.append(False, closes[:-1]))
        place = SEQUENCE_LENGTH - 1 - (end[closes][window] - end)
        return cls(rows, rows[closes], window, place)


@dataclass(frozen=True, slots=True)
class Examples:
    """Scaled inputs and what should come out.

    Attributes:
        features: (rows, features).
        targets: (rows, behaviours), 0 or 1 of a binary behaviour, log1p of an amount, NaN where censored.
        sequences: (windows, steps, channels), newest session last, zeros before the first; None where not read.
        window: (rows,) index of each row's window, ascending.
        place: (rows,) the step of that window at which the row's own last session is.
    """

    features: Tensor
    targets: Tensor
    sequences: Tensor | None
    window: Tensor
    place: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def batches(self, rows: int, *, shuffle: bool) -> Iterator[Self]:
        """Cut into parts of about so many rows, whole windows each; shuffled by torch's generator.

        Shuffled parts hold windows of like length, so that little padding is computed, and as many rows each, so that
        every row weighs the same.
        """
        counts = torch.bincount(self.window)
        order = torch.randperm(len(counts)) if shuffle else torch.arange(len(counts))
        parts = _cut(order, counts, rows)
        if shuffle and self.sequences is not None:
            lengths = (self.sequences[..., 0] > 0).sum(dim=1)
            pools = [
                pool[torch.argsort(lengths[pool], stable=True)] for pool in _cut(order, counts, rows * _POOL_BATCHES)
            ]
            parts = [part for pool in pools for part in _cut(pool, counts, rows)]
            parts = [parts[index] for index in torch.randperm(len(parts)).tolist()]
        first = torch.cumsum(counts, 0) - counts
        for part in parts:
            many = counts[part]
            window = torch.repeat_interleave(torch.arange(len(part)), many)
            within = torch.arange(len(window)) - torch.repeat_interleave(torch.cumsum(many, 0) - many, many)
            yield self._part(first[part][window] + within, part, window)

    def _part(self, rows: Tensor, windows: Tensor, window: Tensor) -> Self:
        sequences, place = None, self.place[rows]
        if self.sequences is not None:
            sequences = self.sequences[windows]
            # Steps before the longest history of the part hold nothing.
            empty = int((sequences[..., 0] > 0).any(dim=0).int().argmax())
            sequences, place = sequences[:, empty:], place - empty
        return type(self)(self.features[rows], self.targets[rows], sequences, window, place)


def _cut(windows: Tensor, counts: Tensor, rows: int) -> list[Tensor]:
    """Cut a list of windows where every so many rows are full; `counts` says how many each window has."""
    part = (torch.cumsum(counts[windows], 0) - 1) // rows
    return list(torch.split_with_sizes(windows, torch.unique_consecutive(part, return_counts=True)[1].tolist()))
