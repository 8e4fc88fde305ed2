from __future__ import annotations

import numpy as np
import pytest

from fusion.errors import FusionError
from fusion.telemetry.dataset import build
from fusion.telemetry.simulate import DEFAULT_DAYS, simulate
from inference.contract.behaviours import DAY_SECONDS
from inference.contract.history import MAX_SESSION_SECONDS


def test_the_same_seed_is_the_same_log() -> None:
    one, same, other = simulate(50, seed=7), simulate(50, seed=7), simulate(50, seed=8)
    assert np.array_equal(one.sessions.start_seconds, same.sessions.start_seconds)
    assert one.sha256 == same.sha256 != other.sha256


@pytest.mark.parametrize("players", [1, 2, 500])
def test_every_player_asked_for_plays(players: int) -> None:
    log = simulate(players, seed=players)
    assert np.array_equal(np.unique(log.player), np.arange(players))
    assert len(log.player_ids) == len(set(log.player_ids)) == players


def test_the_log_is_clean_labelled_and_inside_its_days() -> None:
    log = simulate(400, seed=2, days=40)
    assert (log.name, log.synthetic, log.knows_coop) == ("simulated", True, True)
    table = log.sessions
    assert table.duration_seconds.min() > 0
    assert table.duration_seconds.max() <= MAX_SESSION_SECONDS
    assert table.end_seconds.max() <= log.end_seconds
    assert table.start_seconds.min() >= log.end_seconds - 40 * DAY_SECONDS
    assert set(table.coop) == {0, 1}
    same = np.diff(log.player) == 0
    assert (table.start_seconds[1:] >= table.end_seconds[:-1])[same].all()
    assert log.cleaning.kept == len(table)


def test_statistics_are_those_it_was_calibrated_to() -> None:
    """Gran Turismo Sport: 40 minutes, 17 hours between, 14.6 sessions in 62 days, 10.6 % gone for a week."""
    log = simulate(3_000, seed=4)
    dataset = build(log)
    same = np.diff(log.player) == 0
    gaps = (log.sessions.start_seconds[1:] - log.sessions.end_seconds[:-1])[same]
    means = dict(zip([b.name for b in dataset.behaviours], np.nanmean(dataset.labels, axis=0), strict=True))
    assert np.median(log.sessions.duration_seconds) / 60 == pytest.approx(40, rel=0.2)
    assert np.median(gaps) / 3_600 == pytest.approx(17, rel=0.2)
    assert len(dataset) / 3_000 == pytest.approx(14.6, rel=0.15)
    assert means["churn_7d"] == pytest.approx(0.106, abs=0.025)
    assert means["return_24h"] == pytest.approx(0.64, abs=0.05)
    assert means["next_session_long"] == pytest.approx(0.365, abs=0.05)
    assert means["playtime_7d_hours"] == pytest.approx(7.7, rel=0.15)
    hours = np.bincount((log.sessions.start_seconds // 3_600) % 24, minlength=24)
    assert hours[17:23].min() > 1.8 * hours[6:12].max()


@pytest.mark.parametrize(("players", "days", "field"), [(0, DEFAULT_DAYS, "players"), (5, 14, "days")])
def test_nonsense_is_refused(players: int, days: int, field: str) -> None:
    with pytest.raises(FusionError, match=field):
        simulate(players, days=days)
