"""Session histories: tables from plain tuples, and hypothesis strategies of whole logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from inference.contract.history import HistoryBatch, SessionTable, clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

Session = tuple[int, int, int]
"""start_seconds, duration_seconds, coop."""

EPOCH_SECONDS = 1_700_000_000


def table(sessions: Iterable[Sequence[int]]) -> SessionTable:
    """Sessions as (start, duration) or (start, duration, coop)."""
    rows = [(*session, -1)[:3] for session in sessions]
    start, duration, coop = zip(*rows, strict=True) if rows else ((), (), ())
    return SessionTable(
        np.array(start, dtype=np.int64), np.array(duration, dtype=np.int64), np.array(coop, dtype=np.int8)
    )


def alone(sessions: Sequence[Session], as_of_seconds: int) -> HistoryBatch:
    """One history, computed by itself, as a server would."""
    return HistoryBatch(
        table(sessions),
        np.zeros(1, dtype=np.int64),
        np.array([len(sessions)], dtype=np.int64),
        np.array([as_of_seconds], dtype=np.int64),
    )


def every_row(player: NDArray[np.int64], sessions: SessionTable) -> HistoryBatch:
    """The big offline table: one row after every session."""
    begin = np.searchsorted(player, player, side="left").astype(np.int64)
    return HistoryBatch(sessions, begin, np.arange(1, len(sessions) + 1, dtype=np.int64), sessions.end_seconds)


_GAPS = st.one_of(st.integers(0, 7_200), st.integers(0, 40 * 86_400))
_DURATIONS = st.one_of(st.integers(1, 36_000), st.sampled_from([1, 3_600, 3_601, 36_000]))
_ONE = st.tuples(_GAPS, _DURATIONS, st.sampled_from([-1, 0, 1]))


@st.composite
def logs(draw: st.DrawFn, max_players: int = 4, max_sessions: int = 45) -> list[list[Session]]:
    """Players' sessions, in order and apart: each at least one."""
    players = []
    for _ in range(draw(st.integers(1, max_players))):
        clock = EPOCH_SECONDS + draw(st.integers(0, 20 * 86_400))
        sessions = []
        for gap, duration, coop in draw(st.lists(_ONE, min_size=1, max_size=max_sessions)):
            sessions.append((clock + gap, duration, coop))
            clock += gap + duration
        players.append(sessions)
    return players


def joined(log: Sequence[Sequence[Session]]) -> tuple[NDArray[np.int64], SessionTable]:
    """All players in one table, through the cleaning that both halves share."""
    player = np.repeat(np.arange(len(log), dtype=np.int64), [len(sessions) for sessions in log])
    keys, sessions, report = clean(player, table([session for sessions in log for session in sessions]))
    assert report.kept == report.read
    return keys, sessions
