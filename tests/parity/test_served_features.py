"""No skew: what the server computes from raw sessions is, bit for bit, what training computes offline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.client import Client, History
from inference.contract import features, history
from inference.contract.features import FEATURE_NAMES
from inference.contract.history import HistoryBatch, SessionTable
from inference.pb.playfuse.v1.player_behavior_pb2 import SessionHistory
from inference.transport import histories
from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

NOW = 1_700_000_000
SESSIONS = st.lists(
    st.tuples(st.integers(NOW, NOW + 5_000_000), st.integers(-5, 40_000), st.sampled_from([True, False])),
    min_size=1,
    max_size=60,
)
Drawn = tuple[list[tuple[int, int, bool]], bool, int]
"""Sessions (start, duration, coop) of a player, whether coop is known, seconds from the last end to as_of."""
PLAYERS = st.lists(st.tuples(SESSIONS, st.booleans(), st.integers(0, 1_000_000)), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("parity") / "a"
    with served(folder) as server, Client(server.address, timeout_seconds=30) as client:
        yield client


def offline(players: list[Drawn]) -> NDArray[np.float32]:
    """The way of the build half: one table of all players' sessions, cleaned at once, features of the last row each."""
    key = np.concatenate([np.full(len(sessions), index) for index, (sessions, _, _) in enumerate(players)])
    flat = [
        (start, duration, coop if known else -1) for sessions, known, _ in players for start, duration, coop in sessions
    ]
    starts, durations, coop = (np.array(column) for column in zip(*flat, strict=True))
    key, table, _ = history.clean(key, SessionTable(starts, durations, coop.astype(np.int8)))
    indices = np.arange(len(players))
    begin, end = np.searchsorted(key, indices), np.searchsorted(key, indices, side="right")
    later = np.array([seconds for _, _, seconds in players])
    return features.compute(HistoryBatch(table, begin, end, table.end_seconds[end - 1] + later))


def sent(players: list[Drawn], *, as_of: list[int]) -> list[History]:
    return [
        History(
            [start for start, _, _ in sessions],
            [duration for _, duration, _ in sessions],
            [coop for _, _, coop in sessions] if known else [],
            moment,
        )
        for (sessions, known, _), moment in zip(players, as_of, strict=True)
    ]


def usable(players: list[Drawn]) -> bool:
    return all(any(0 < duration <= 36_000 for _, duration, _ in sessions) for sessions, _, _ in players)


def moments(players: list[Drawn]) -> list[int]:
    """as_of of each player: the last end plus what was drawn."""
    ends = [max(s + d for s, d, _ in sessions if 0 < d <= 36_000) for sessions, _, _ in players]
    return [end + later for end, (_, _, later) in zip(ends, players, strict=True)]


@settings(max_examples=100)
@given(PLAYERS.filter(usable))
def test_the_server_computes_the_bits_of_training(
    players: list[Drawn],
) -> None:
    messages = [
        SessionHistory(
            start_seconds=one.start_seconds,
            duration_seconds=one.duration_seconds,
            coop=one.coop,
            as_of_seconds=one.as_of_seconds,
        )
        for one in sent(players, as_of=moments(players))
    ]
    rows, _ = histories.rows_of(messages, np.arange(len(FEATURE_NAMES)), max_sessions=1_000)
    assert rows.tobytes() == offline(players).tobytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLAYERS.filter(usable))
def test_histories_and_offline_features_give_equal_answers_over_the_wire(client: Client, players: list[Drawn]) -> None:
    from_sessions = client.predict(histories=sent(players, as_of=moments(players)))
    from_rows = client.predict(rows=offline(players), nan_is_missing=True)
    assert from_sessions.values.tobytes() == from_rows.values.tobytes()
