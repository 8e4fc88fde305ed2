"""A simulator of session logs, for when there is no real one: seeded, vectorised, labelled synthetic everywhere.

Every simulated player has latent traits: engagement, a preferred hour and time zone, a weekday habit, a taste for
long sessions, for several sessions a day and for company. Day by day an interest wanders around its mean (bursts and
lulls) until, for most, it begins to fade for good. Whether, how often, when, how long and with whom a player plays
follows from traits and interest, so that all behaviours can be predicted from the history to some degree, and hang
together. The constants are calibrated against the published statistics of Gran Turismo Sport (session lengths, gaps,
sessions per player, hours of the day, base rates); `benchmarks/telemetry.py` prints both sides.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import FusionError
from fusion.telemetry.log import Cleaning, SessionLog
from inference.contract.behaviours import DAY_SECONDS, HOUR_SECONDS
from inference.contract.history import MAX_SESSION_SECONDS, SessionTable, clean

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIMULATED_NAME: Final = "simulated"
DEFAULT_DAYS: Final = 62
_MINIMUM_DAYS: Final = 15
_SPARE_PLAYERS: Final = 50
_FIRST_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
_MOST_SESSIONS_A_DAY: Final = 10
_WEEKDAY: Final = (0.0, -0.1, 0.0, 0.0, 0.0, 0.25, 0.2)
_UTC_OFFSETS_HOURS: Final = (1.0, -5.0, 9.0)
_UTC_OFFSET_SHARES: Final = (0.56, 0.36, 0.08)


@dataclass(frozen=True, slots=True)
class _Players:
    """Latent traits, (players,) float64 each where nothing else is said."""

    engagement: NDArray[np.float64]
    """Logit of playing on a day at middling interest."""
    weekday: NDArray[np.float64]
    """(players, 7): added to it, Monday first."""
    extra_sessions: NDArray[np.float64]
    """Mean number of further sessions on a day of play."""
    hour: NDArray[np.float64]
    """Preferred hour of the first session, UTC."""
    hour_spread: NDArray[np.float64]
    log_minutes: NDArray[np.float64]
    """Median length of a proper session, natural logarithm of minutes."""
    brief_share: NDArray[np.float64]
    """Share of sessions that are only a look into the game."""
    coop: NDArray[np.float64]
    """Logit of playing with others."""


@dataclass(frozen=True, slots=True)
class _PlayDays:
    """The days on which someone plays, by player, then day."""

    player: NDArray[np.int64]
    day: NDArray[np.int64]
    interest: NDArray[np.float64]


def simulate(players: int, *, seed: int = 0, days: int = DEFAULT_DAYS) -> SessionLog:
    """Simulate a session log.

    Args:
        players: how many players the log shows; who never plays within its days is not in it.
        seed: the same seed gives the same log.
        days: length of the log; labels need 14 days after a session, so 15 at least.

    Returns:
        A cleaned log named `simulated`, `synthetic`, with co-op flags, about 15 sessions per player.

    Raises:
        FusionError: no players, or too few days for any label window.
    """
    for name, got, least in (("players", players, 1), ("days", days, _MINIMUM_DAYS)):
        if got < least:
            raise FusionError(f"simulate, {name}", got=got, expected=f"at least {least}")
    rng = np.random.default_rng(seed)
    # About a quarter of those drawn never play: draw more, keep the first that do.
    traits = _draw_players(rng, players + players // 2 + _SPARE_PLAYERS)
    played = _play_days(rng, traits, days)
    player, raw = _sessions(rng, traits, played)
    first = int(_FIRST_DAY.timestamp())
    last = first + days * DAY_SECONDS
    player, raw = _first_players(player, raw, players, first, last)
    player, sessions, report = clean(player, raw, window_start_seconds=first, window_end_seconds=last)
    return SessionLog(
        name=SIMULATED_NAME,
        synthetic=True,
        notice="",
        sha256=_sha256(player, sessions),
        player_ids=tuple(f"simulated-{seed}-{index}" for index in range(int(player[-1]) + 1)),
        player=player,
        sessions=sessions,
        end_seconds=last,
        knows_coop=True,
        cleaning=Cleaning(rows=len(raw), no_player=0, unparsable_start=0, unparsable_end=0, sessions=report),
    )


def _draw_players(rng: np.random.Generator, players: int) -> _Players:
    # Shared factors make traits hang together: the devoted play longer, more often and more in company.
    devotion = rng.standard_normal(players)
    sociable = rng.standard_normal(players)
    offset = rng.choice(_UTC_OFFSETS_HOURS, size=players, p=_UTC_OFFSET_SHARES)
    return _Players(
        engagement=-2.9 + 2.2 * devotion,
        weekday=np.array(_WEEKDAY) + 0.6 * rng.standard_normal((players, 7)),
        extra_sessions=0.38 * np.exp(0.65 * rng.standard_normal(players) + 0.2 * devotion),
        hour=19.0 - offset + 3.0 * rng.standard_normal(players),
        hour_spread=2.3 * np.exp(0.5 * rng.standard_normal(players)),
        log_minutes=np.log(42.0) + 0.55 * rng.standard_normal(players) + 0.12 * devotion,
        brief_share=_sigmoid(-1.6 + 0.7 * rng.standard_normal(players)),
        coop=-0.9 + 1.5 * sociable + 0.2 * devotion,
    )


def _play_days(rng: np.random.Generator, traits: _Players, days: int) -> _PlayDays:
    """Walk through the days: interest is an AR(1) process, until it fades."""
    players = len(traits.engagement)
    interest = rng.standard_normal(players)
    fade = np.zeros(players)
    fading = rng.random(players) < 0.08
    # Some know the game from before the log begins, others join while it runs.
    joins = np.where(rng.random(players) < 0.3, rng.integers(0, days, players), 0)
    plays = np.zeros((players, days), dtype=np.bool_)
    felt = np.zeros((players, days), dtype=np.float32)
    for day in range(days):
        interest = 0.9 * interest + np.sqrt(1 - 0.9**2) * rng.standard_normal(players)
        # The less interested, the likelier it begins to fade; it then fades a little more every day.
        fading |= (day >= joins) & (rng.random(players) < 0.0095 * np.exp(-0.6 * interest - 0.25 * traits.engagement))
        fade += np.where(fading, 0.22 * np.exp(0.6 * rng.standard_normal(players)), 0.0)
        felt[:, day] = interest - 0.5 * fade
        chance = _sigmoid(traits.engagement + traits.weekday[:, day % 7] + 1.1 * interest - fade)
        plays[:, day] = (day == joins) & (joins > 0) | (day >= joins) & (rng.random(players) < chance)
    player, day_index = np.nonzero(plays)
    return _PlayDays(player.astype(np.int64), day_index.astype(np.int64), felt[plays].astype(np.float64))


def _sessions(rng: np.random.Generator, traits: _Players, played: _PlayDays) -> tuple[NDArray[np.int64], SessionTable]:
    """Lay the sessions of every day of play out in time: lengths and breaks follow one another."""
    extra = rng.poisson(traits.extra_sessions[played.player] * np.exp(0.25 * played.interest))
    count = 1 + np.minimum(extra, _MOST_SESSIONS_A_DAY - 1)
    first = np.cumsum(count) - count
    day = np.repeat(np.arange(len(count)), count)
    player = played.player[day]
    coop = _company(rng, traits, played, day)
    brief = rng.random(len(day)) < traits.brief_share[player]
    seconds = _lengths(rng, traits, played, day, coop, brief)
    # Who only looked in, or lost the connection, is soon back.
    breaks = 60.0 * np.exp(np.log(np.where(brief, 4.0, 160.0)) + 1.5 * rng.standard_normal(len(day)))
    # Within a day every session starts a break after the end of the one before.
    elapsed = np.cumsum(seconds + breaks) - (seconds + breaks)
    start = _first_starts(rng, traits, played)[day] + elapsed - elapsed[first][day]
    order = np.lexsort((start, player))
    player, coop = player[order], coop[order]
    begin = np.floor(start[order]).astype(np.int64)
    # An evening that runs into the next day's first session ends there.
    room = np.full(len(begin), MAX_SESSION_SECONDS)
    room[:-1] = np.where(player[1:] == player[:-1], np.diff(begin) - 1, MAX_SESSION_SECONDS)
    duration = np.minimum(np.ceil(seconds[order]).astype(np.int64), room)
    return player, SessionTable(begin, duration, coop.astype(np.int8))


def _first_starts(rng: np.random.Generator, traits: _Players, played: _PlayDays) -> NDArray[np.float64]:
    """Unix seconds of the first session of each day of play; a player's day begins at its quietest hour."""
    away = traits.hour_spread[played.player] * rng.standard_normal(len(played.day))
    hour = traits.hour[played.player] + (away + 12.0) % 24.0 - 12.0
    midnight = _FIRST_DAY.timestamp() + played.day * DAY_SECONDS
    return np.asarray(midnight + hour * HOUR_SECONDS)


def _company(
    rng: np.random.Generator, traits: _Players, played: _PlayDays, day: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each session is played with others; a day's sessions share whether friends are around."""
    friends = 1.3 * rng.standard_normal(len(played.day))
    chance = _sigmoid(traits.coop[played.player] + friends + 0.2 * played.interest)
    return np.asarray(rng.random(len(day)) < chance[day])


def _lengths(
    rng: np.random.Generator,
    traits: _Players,
    played: _PlayDays,
    day: NDArray[np.int64],
    coop: NDArray[np.bool_],
    brief: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Seconds of each session: a look into the game, or a proper session, longer in company and on weekends."""
    player = played.player[day]
    weekend = played.day[day] % 7 >= 5
    proper = traits.log_minutes[player] + 0.1 * played.interest[day] + 0.2 * coop + 0.1 * weekend
    minutes = np.exp(proper + 0.66 * rng.standard_normal(len(day)))
    look = np.exp(np.log(2.5) + 1.4 * rng.standard_normal(len(day)))
    return np.asarray(np.clip(60.0 * np.where(brief, look, minutes), 20.0, MAX_SESSION_SECONDS - 1.0))


def _first_players(
    player: NDArray[np.int64], sessions: SessionTable, players: int, first: int, last: int
) -> tuple[NDArray[np.int64], SessionTable]:
    """The sessions of the first players that have any between `first` and `last`, numbered from 0."""
    inside = (sessions.start_seconds >= first) & (sessions.end_seconds <= last)
    seen = np.unique(player[inside])[:players]
    mine = np.isin(player, seen)
    return np.searchsorted(seen, player[mine]).astype(np.int64), sessions.take(mine)


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))


def _sha256(player: NDArray[np.int64], sessions: SessionTable) -> str:
    digest = hashlib.sha256()
    for array in (player, sessions.start_seconds, sessions.duration_seconds, sessions.coop):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
