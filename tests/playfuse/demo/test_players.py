from __future__ import annotations

import numpy as np
import pytest

from fusion.telemetry.dataset import Dataset, Split, build
from fusion.telemetry.simulate import simulate
from playfuse.demo.players import SHOWN, pick


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return build(simulate(120, seed=3))


def test_players_are_held_out_and_ordered_by_how_much_they_played(dataset: Dataset) -> None:
    players = pick(dataset, 5)
    assert len(players) == 5
    counts = [player.sessions for player in players]
    assert counts == sorted(counts)
    held_out = set(dataset.histories.as_of_seconds[dataset.rows(Split.TEST)].tolist())
    for player in players:
        assert player.history.as_of_seconds in held_out
        assert len(player.history.start_seconds) == len(player.history.duration_seconds) == player.sessions
        ends = np.add(player.history.start_seconds, player.history.duration_seconds)
        assert ends.max() == player.history.as_of_seconds


def test_their_future_is_known(dataset: Dataset) -> None:
    for player in pick(dataset, 5):
        assert set(player.actual) == set(SHOWN)
        assert np.isfinite(list(player.actual.values())).all()
        assert player.actual["churn_7d"] in (0.0, 1.0)


def test_no_more_players_than_there_are(dataset: Dataset) -> None:
    players = pick(dataset, 10_000)
    assert 0 < len(players) <= len(np.unique(dataset.player[dataset.rows(Split.TEST)]))
    starts = [tuple(player.history.start_seconds) for player in players]
    assert len(set(starts)) == len(starts)


def test_coop_flags_are_sent_only_where_the_log_has_them(dataset: Dataset) -> None:
    (with_flags, *_) = pick(dataset, 1)
    assert len(with_flags.history.coop) == with_flags.sessions
    dataset.histories.sessions.coop[:] = -1
    (without, *_) = pick(dataset, 1)
    assert without.history.coop == []
