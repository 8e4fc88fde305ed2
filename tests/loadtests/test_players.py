from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.contract.features import FEATURE_NAMES
from inference.contract.history import clean
from loadtests.players import feature_rows, random_players, table


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 20))
def test_random_players_are_plausible_as_they_are(seed: int, count: int) -> None:
    players = random_players(np.random.default_rng(seed), count)
    assert len(players) == count
    owner = np.repeat(np.arange(count), [len(player.start_seconds) for player in players])
    _, _, report = clean(owner, table(players))
    assert report.kept == report.read


def test_feature_rows_follow_the_order_of_names() -> None:
    players = random_players(np.random.default_rng(0), 5)
    names = ("session_1_hours", "sessions_total")
    rows = feature_rows(players, names)
    assert rows.shape == (5, 2)
    assert rows.dtype == np.float32
    assert rows[:, 0].tolist() == [np.float32(player.duration_seconds[-1] / 3_600) for player in players]
    assert rows[:, 1].tolist() == [len(player.start_seconds) for player in players]


def test_features_of_a_table_are_unknown() -> None:
    rows = feature_rows(random_players(np.random.default_rng(0), 3), ("clan_size", "sessions_total"))
    assert np.isnan(rows[:, 0]).all()
    assert (rows[:, 1] >= 1).all()


def test_a_lobby_is_a_row_for_each_player_with_its_own_features() -> None:
    players = random_players(np.random.default_rng(1), 64)
    lobby = feature_rows(players, FEATURE_NAMES)
    for index in (0, 17, 63):
        alone = feature_rows([players[index]], FEATURE_NAMES)
        assert lobby[index].tobytes() == alone[0].tobytes()
