"""A few players the models have never seen, with what they did next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.telemetry.dataset import Split
from inference.client import History

if TYPE_CHECKING:
    from fusion.telemetry.dataset import Dataset

SHOWN: Final[tuple[str, ...]] = ("churn_7d", "return_24h", "next_session_long", "playtime_7d_hours")
"""Behaviours worth a column in a narrow terminal."""


@dataclass(frozen=True, slots=True)
class Player:
    """A held-out player at the end of one session.

    Attributes:
        history: everything up to that moment.
        sessions: how many that are.
        actual: behaviour → what really happened.
    """

    history: History
    sessions: int
    actual: dict[str, float]


def pick(dataset: Dataset, count: int) -> list[Player]:
    """`count` test players, from the one with the fewest sessions to the one with the most, whose future is known."""
    rows = dataset.rows(Split.TEST)
    names = [behaviour.name for behaviour in dataset.behaviours]
    columns = [names.index(name) for name in SHOWN]
    rows = rows[np.isfinite(dataset.labels[rows][:, columns]).all(axis=1)]
    # The last such row of each player: rows are in order of time within a player.
    _, from_the_end = np.unique(dataset.player[rows][::-1], return_index=True)
    rows = rows[len(rows) - 1 - from_the_end]
    batch = dataset.histories
    rows = rows[np.argsort(batch.end[rows] - batch.begin[rows], kind="stable")]
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, num=min(count, len(rows))).astype(np.int64))]
    return [_player(dataset, int(row), names) for row in chosen]


def _player(dataset: Dataset, row: int, names: list[str]) -> Player:
    batch = dataset.histories
    sessions = batch.sessions.take(np.arange(batch.begin[row], batch.end[row]))
    # Where a log does not tell, no flag is sent.
    coop = (sessions.coop == 1).tolist() if (sessions.coop >= 0).all() else []
    history = History(
        sessions.start_seconds.tolist(),
        sessions.duration_seconds.tolist(),
        coop=coop,
        as_of_seconds=int(batch.as_of_seconds[row]),
    )
    actual = {name: float(dataset.labels[row, names.index(name)]) for name in SHOWN}
    return Player(history, len(sessions), actual)
