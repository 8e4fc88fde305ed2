"""Raw session histories of a request → the rows that training would have computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from inference.contract import features, history
from inference.contract.behaviours import DAY_SECONDS
from inference.contract.errors import InvalidRequest
from inference.contract.history import COOP_UNKNOWN, HistoryBatch, SessionTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from inference.pb.playfuse.v1.player_behavior_pb2 import SessionHistory

END_OF_TIME_SECONDS: Final = 2**35
"""Sessions start before this (the year 3058): later is most likely milliseconds."""

MAX_SPAN_SECONDS: Final = 3_653 * DAY_SECONDS
"""Ten years from a player's first start to `as_of`: keeps every int64 sum of squares in the features exact."""


def rows_of(
    players: Sequence[SessionHistory], columns: NDArray[np.intp], *, max_sessions: int
) -> tuple[NDArray[np.float32], int]:
    """Clean the histories and compute their features.

    Args:
        players: at least one.
        columns: indices into `features.FEATURE_NAMES`, the model's input in order.
        max_sessions: of all players together.

    Returns:
        (players, columns) float32, and how many sessions cleaning took away.

    Raises:
        InvalidRequest: names the player and the field at fault.
    """
    counts = np.array([len(player.start_seconds) for player in players], dtype=np.int64)
    if (total := int(counts.sum())) > max_sessions:
        raise InvalidRequest("histories", got=f"{total} sessions", expected=f"at most {max_sessions} in one request")
    _check_lengths(players)
    key = np.repeat(np.arange(len(players), dtype=np.int64), counts)
    sessions = SessionTable(
        start_seconds=_joined([player.start_seconds for player in players]),
        duration_seconds=_joined([player.duration_seconds for player in players]),
        coop=np.concatenate([_coop(player) for player in players]),
    )
    _check_starts(sessions.start_seconds, key, counts)
    key, sessions, report = history.clean(key, sessions)
    batch = _batch(players, counts, key, sessions)
    return features.compute(batch)[:, columns], report.read - report.kept


def _joined(parts: list[Sequence[int]]) -> NDArray[np.int64]:
    return np.concatenate([np.array(part, dtype=np.int64) for part in parts])


def _coop(player: SessionHistory) -> NDArray[np.int8]:
    if player.coop:
        return np.array(player.coop, dtype=np.int8)
    return np.full(len(player.start_seconds), COOP_UNKNOWN, dtype=np.int8)


def _check_lengths(players: Sequence[SessionHistory]) -> None:
    for index, player in enumerate(players):
        sessions = len(player.start_seconds)
        where = f"histories.players[{index}]"
        if not sessions and not player.duration_seconds:
            raise InvalidRequest(
                where, got="no session", expected="at least one: the session that is going on or has just ended counts"
            )
        for field, values in (("duration_seconds", player.duration_seconds), ("coop", player.coop)):
            if len(values) != sessions and (values or field != "coop"):
                raise InvalidRequest(
                    f"{where}.{field}",
                    got=f"{len(values)} values",
                    expected=f"{sessions}, as many as start_seconds" + (", or none" if field == "coop" else ""),
                )


def _check_starts(start_seconds: NDArray[np.int64], key: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    wrong = np.flatnonzero((start_seconds < 0) | (start_seconds >= END_OF_TIME_SECONDS))
    if wrong.size:
        session = int(wrong[0])
        player = int(key[session])
        position = session - int(counts[:player].sum())
        raise InvalidRequest(
            f"histories.players[{player}].start_seconds[{position}]",
            got=int(start_seconds[session]),
            expected=f"Unix seconds, from 0 to {END_OF_TIME_SECONDS - 1}",
            fix="Divide by 1000 if these are milliseconds." if start_seconds[session] > 0 else "",
        )


def _batch(
    players: Sequence[SessionHistory], counts: NDArray[np.int64], key: NDArray[np.int64], sessions: SessionTable
) -> HistoryBatch:
    indices = np.arange(len(players), dtype=np.int64)
    begin = np.searchsorted(key, indices).astype(np.int64)
    end = np.searchsorted(key, indices, side="right").astype(np.int64)
    if (empty := np.flatnonzero(begin == end)).size:
        player = int(empty[0])
        raise InvalidRequest(
            f"histories.players[{player}]",
            got=f"{counts[player]} sessions of which none is usable",
            expected=f"one of 1 to {history.MAX_SESSION_SECONDS} seconds at least",
        )
    # Sessions of one player no longer overlap, so the last one to start is the last one to end.
    last_end = sessions.end_seconds[end - 1]
    asked = np.array([player.as_of_seconds for player in players], dtype=np.int64)
    as_of = np.where(asked == 0, last_end, asked)
    span_ok = as_of - sessions.start_seconds[begin] <= MAX_SPAN_SECONDS
    wrong = np.flatnonzero((as_of < last_end) | ~span_ok)
    if wrong.size:
        player = int(wrong[0])
        early = as_of[player] < last_end[player]
        raise InvalidRequest(
            f"histories.players[{player}].as_of_seconds",
            got=int(as_of[player]),
            expected=f"{last_end[player]} or later, the end of the last session; or 0, which means that"
            if early
            else f"at most {MAX_SPAN_SECONDS // DAY_SECONDS} days after the first session",
            fix="Leave out sessions after as_of." if early else "Leave out older sessions.",
        )
    return HistoryBatch(sessions=sessions, begin=begin, end=end, as_of_seconds=as_of)
