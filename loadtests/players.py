"""Players to load a server with: random histories, and their features from the code that serves and trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from inference.contract import features
from inference.contract.history import COOP_UNKNOWN, HistoryBatch, SessionTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_EPOCH_SECONDS: Final = 1_750_000_000
_MAX_SESSIONS: Final = 24
_MEAN_GAP_SECONDS: Final = 30 * 3_600
_MEAN_DURATION_SECONDS: Final = 50 * 60


@dataclass(frozen=True, slots=True)
class Player:
    """One player's sessions, oldest first, none overlapping.

    Attributes:
        start_seconds: (sessions,) int64, Unix seconds.
        duration_seconds: (sessions,) int64, a minute at least, 10 hours at most.
    """

    start_seconds: NDArray[np.int64]
    duration_seconds: NDArray[np.int64]


def random_players(rng: np.random.Generator, count: int) -> list[Player]:
    """`count` players with 1 to 24 sessions each; pauses and durations are exponential."""
    players = []
    for sessions in rng.integers(1, _MAX_SESSIONS + 1, size=count):
        gaps = rng.exponential(_MEAN_GAP_SECONDS, sessions).astype(np.int64) + 600
        durations = np.clip(rng.exponential(_MEAN_DURATION_SECONDS, sessions), 60, 36_000).astype(np.int64)
        ends = _EPOCH_SECONDS + np.cumsum(gaps + durations)
        players.append(Player(ends - durations, durations))
    return players


def table(players: Sequence[Player]) -> SessionTable:
    """The sessions of all players, one player after the other."""
    starts = np.concatenate([player.start_seconds for player in players])
    durations = np.concatenate([player.duration_seconds for player in players])
    return SessionTable(starts, durations, coop=np.full(len(starts), COOP_UNKNOWN, dtype=np.int8))


def feature_rows(players: Sequence[Player], names: Sequence[str]) -> NDArray[np.float32]:
    """(players, names) float32 at the end of each player's last session.

    NaN where a feature is not known, as the features of a table never are: no session tells them.
    """
    counts = np.array([len(player.start_seconds) for player in players], dtype=np.int64)
    end = np.cumsum(counts)
    sessions = table(players)
    batch = HistoryBatch(sessions, begin=end - counts, end=end, as_of_seconds=sessions.end_seconds[end - 1])
    computed = dict(zip(features.FEATURE_NAMES, features.compute(batch).T, strict=True))
    unknown = np.full(len(players), np.nan, dtype=np.float32)
    return np.stack([computed.get(name, unknown) for name in names], axis=1)
