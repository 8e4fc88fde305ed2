from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference.contract import features, history
from inference.contract.behaviours import DAY_SECONDS
from inference.contract.errors import InvalidRequest
from inference.contract.features import FEATURE_NAMES
from inference.contract.history import HistoryBatch, SessionTable
from inference.pb.playfuse.v1.player_behavior_pb2 import SessionHistory
from inference.transport import histories
from inference.transport.histories import END_OF_TIME_SECONDS, MAX_SPAN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ALL = np.arange(len(FEATURE_NAMES))
NOW = 1_750_000_000


def player(
    starts: Sequence[int], durations: Sequence[int], coop: Sequence[bool] = (), as_of: int = 0
) -> SessionHistory:
    return SessionHistory(start_seconds=starts, duration_seconds=durations, coop=coop, as_of_seconds=as_of)


def rows_of(*players: SessionHistory) -> NDArray[np.float32]:
    rows, _ = histories.rows_of(players, ALL, max_sessions=1_000)
    return rows


def column(name: str, *players: SessionHistory) -> list[float]:
    values: list[float] = rows_of(*players)[:, FEATURE_NAMES.index(name)].tolist()
    return values


def refusal(*players: SessionHistory, max_sessions: int = 1_000) -> str:
    with pytest.raises(InvalidRequest) as refused:
        histories.rows_of(players, ALL, max_sessions=max_sessions)
    return str(refused.value)


def test_rows_are_those_that_training_computes() -> None:
    starts = np.array([NOW, NOW + 100_000, NOW + 300_000])
    durations = np.array([3_600, 1_800, 600])
    coop = np.array([1, 0, 1], dtype=np.int8)
    batch = HistoryBatch(
        SessionTable(starts, durations, coop),
        begin=np.array([0]),
        end=np.array([3]),
        as_of_seconds=np.array([NOW + 400_000]),
    )
    served = rows_of(player(starts.tolist(), durations.tolist(), [True, False, True], NOW + 400_000))
    assert served.tobytes() == features.compute(batch).tobytes()


def test_the_order_of_sessions_and_of_players_does_not_matter() -> None:
    one = player([NOW, NOW + 9_000, NOW + 90_000], [60, 600, 6_000])
    shuffled = player([NOW + 90_000, NOW, NOW + 9_000], [6_000, 60, 600])
    other = player([NOW - 5_000], [1_234])
    together = rows_of(one, other, shuffled)
    assert together[0].tobytes() == together[2].tobytes() == rows_of(one).tobytes()
    assert together[1].tobytes() == rows_of(other).tobytes()


def test_only_the_models_columns_come_in_its_order() -> None:
    sent = player([NOW, NOW + 50_000], [600, 1_200])
    columns = np.array([7, 0, 3])
    rows, _ = histories.rows_of([sent], columns, max_sessions=10)
    np.testing.assert_array_equal(rows, rows_of(sent)[:, columns])


def test_as_of_is_the_end_of_the_last_session_unless_told() -> None:
    sent = ([NOW, NOW + 7_200], [3_600, 1_800])
    assert column("recency_hours", player(*sent), player(*sent, as_of=NOW + 9_000 + 3_600)) == [0.0, 1.0]


def test_what_cleaning_takes_away_is_counted() -> None:
    sent = player(
        [NOW, NOW, NOW + 1_000, NOW + 50_000, NOW + 60_000],
        [600, 600, 0, history.MAX_SESSION_SECONDS + 1, 60],
    )
    overlapping = player([NOW, NOW + 30], [60, 60])
    rows, dropped = histories.rows_of([sent, overlapping], ALL, max_sessions=100)
    assert dropped == 4
    assert rows[:, FEATURE_NAMES.index("sessions_total")].tolist() == [2, 1]


def test_coop_may_be_known_for_some_players_only() -> None:
    values = column("coop_last", player([NOW], [60], [True]), player([NOW], [60]), player([NOW], [60], [False]))
    assert (values[0], values[2]) == (1.0, 0.0)
    assert np.isnan(values[1])


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (
            player([], []),
            "got no session, expected at least one: the session that is going on",
        ),
        (player([NOW], []), ".duration_seconds: got 0 values, expected 1, as many as start_seconds."),
        (player([], [60]), ".duration_seconds: got 1 values, expected 0, as many as start_seconds."),
        (player([NOW], [60], [True, True]), ".coop: got 2 values, expected 1, as many as start_seconds, or none."),
        (player([NOW], [0]), "got 1 sessions of which none is usable, expected one of 1 to 36000 seconds at least."),
        (player([NOW], [36_001]), "got 1 sessions of which none is usable"),
        (player([NOW, -1], [60, 60]), f".start_seconds[1]: got -1, expected Unix seconds, from 0 to {2**35 - 1}."),
        (
            player([NOW * 1_000], [60]),
            f".start_seconds[0]: got {NOW * 1_000}, expected Unix seconds, from 0 to {2**35 - 1}. "
            "Divide by 1000 if these are milliseconds.",
        ),
        (
            player([NOW], [60], as_of=NOW + 59),
            f".as_of_seconds: got {NOW + 59}, expected {NOW + 60} or later, the end of the last session; or 0",
        ),
        (player([NOW], [60], as_of=-1), ".as_of_seconds: got -1"),
        (player([NOW], [60], as_of=-(2**63)), f".as_of_seconds: got {-(2**63)}"),
        (
            player([NOW], [60], as_of=NOW + MAX_SPAN_SECONDS + 1),
            "expected at most 3653 days after the first session. Leave out older sessions.",
        ),
        (player([NOW], [60], as_of=2**63 - 1), "expected at most 3653 days after the first session"),
        (player([0, MAX_SPAN_SECONDS], [60, 1]), "expected at most 3653 days after the first session"),
    ],
)
def test_what_is_wrong_is_named_with_the_player(sent: SessionHistory, said: str) -> None:
    good = player([NOW, NOW + 100_000], [60, 60])
    text = refusal(good, sent)
    assert text.startswith("histories.players[1]")
    assert said in text


def test_too_many_sessions_are_refused() -> None:
    sent = player([NOW, NOW + 100], [60, 60])
    assert refusal(sent, sent, max_sessions=3) == "histories: got 4 sessions, expected at most 3 in one request."


def test_the_longest_allowed_history_gives_finite_features() -> None:
    first = END_OF_TIME_SECONDS - MAX_SPAN_SECONDS
    starts = [first, END_OF_TIME_SECONDS - 2 * DAY_SECONDS]
    rows = rows_of(player(starts, [1, 1]), player([END_OF_TIME_SECONDS - 1], [36_000]))
    assert rows[0, FEATURE_NAMES.index("gap_1_hours")] == 3_650 * 24  # features count longer gaps as ten years
    assert not np.isinf(rows).any()
