from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.contract.features import (
    FEATURE_NAMES,
    FEATURE_VERSION,
    SEQUENCE_CHANNELS,
    SEQUENCE_LENGTH,
    compute,
    compute_sequences,
)
from inference.contract.history import HistoryBatch, clean
from tests.support import feature_oracle
from tests.support.histories import EPOCH_SECONDS, Session, alone, every_row, logs, table

DAY = 86_400
GOLDEN = {1: "f1fabb19e7b8852e2d3bfc316a50884cfd8c31aad3fbc01a69a732e3329effe8"}
"""FEATURE_VERSION → hash of the features and sequences of a fixed log."""


def of(sessions: list[Session], as_of_seconds: int) -> dict[str, float]:
    values = compute(alone(sessions, as_of_seconds))[0].tolist()
    return dict(zip(FEATURE_NAMES, values, strict=True))


@settings(max_examples=60)
@given(logs(max_players=1), st.integers(0, 20 * DAY))
def test_features_are_what_plain_python_says(log: list[list[Session]], recency_seconds: int) -> None:
    sessions = log[0]
    as_of = sessions[-1][0] + sessions[-1][1] + recency_seconds
    expected = feature_oracle.features(sessions, as_of)
    got = of(sessions, as_of)
    assert set(got) <= set(expected)
    for name, value in got.items():
        assert value == pytest.approx(expected[name], rel=3e-6, abs=3e-6, nan_ok=True), name


@settings(max_examples=40)
@given(logs(max_players=1))
def test_sequences_are_what_plain_python_says(log: list[list[Session]]) -> None:
    got = compute_sequences(alone(log[0], EPOCH_SECONDS + 3_000 * DAY))
    assert got.shape == (1, SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS))
    np.testing.assert_allclose(got[0], feature_oracle.sequence(log[0]), rtol=3e-6, atol=3e-6)


def test_a_first_session_knows_no_gaps() -> None:
    values = of([(EPOCH_SECONDS, 1_800, 1)], EPOCH_SECONDS + 1_800)
    unknown = {name for name, value in values.items() if np.isnan(value)}
    gaps = {name for name in FEATURE_NAMES if name.startswith("gap_")}
    assert unknown == gaps | {"session_2_hours", "session_3_hours", "session_std8_hours", "week_echo_share_4"}
    assert (values["coop_last"], values["session_1_hours"], values["recency_hours"]) == (1.0, 0.5, 0.0)


def test_a_prediction_may_be_asked_while_the_session_runs() -> None:
    values = of([(EPOCH_SECONDS - 5 * DAY, 60, -1), (EPOCH_SECONDS, 7_200, -1)], EPOCH_SECONDS + 3_600)
    assert values["recency_hours"] == -1.0
    assert values["sessions_1d"] == 1


def test_only_the_last_sessions_are_looked_at_closely() -> None:
    sessions = [(EPOCH_SECONDS + n * DAY, 7_200 if n == 0 else 60, -1) for n in range(SEQUENCE_LENGTH + 1)]
    values = of(sessions, EPOCH_SECONDS + 40 * DAY)
    assert values["long_share_32"] == 0.0
    assert values["sessions_total"] == SEQUENCE_LENGTH + 1


def test_nothing_asked_nothing_computed() -> None:
    none = np.zeros(0, dtype=np.int64)
    batch = HistoryBatch(table([]), none, none, none)
    assert compute(batch).shape == (0, len(FEATURE_NAMES))
    assert compute_sequences(batch).shape == (0, SEQUENCE_LENGTH, len(SEQUENCE_CHANNELS))


def test_gaps_of_decades_stay_finite() -> None:
    sessions = [(n * 30 * 365 * DAY, 60, -1) for n in range(1, 20)]
    values = of(sessions, sessions[-1][0] + 60)
    assert values["gap_max8_hours"] == 10 * 365 * 24
    assert values["gap_std8_hours"] == 0.0


def test_names_are_unique() -> None:
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES)
    assert len(set(SEQUENCE_CHANNELS)) == len(SEQUENCE_CHANNELS)


def fixed_log() -> HistoryBatch:
    """60 players drawn from integers alone, so that the log is the same with every version of NumPy."""
    state, rows = 12_345, []
    for player in range(60):
        clock = EPOCH_SECONDS
        for _ in range(1 + player):
            draws = []
            for _ in range(3):
                state = (1_103_515_245 * state + 12_345) % 2**31
                draws.append(state >> 8)
            clock += draws[0] % (4 * DAY)
            rows.append((player, clock, 1 + draws[1] % 12_000, draws[2] % 3 - 1))
            clock += rows[-1][2]
    keys, sessions, _ = clean(np.array([row[0] for row in rows]), table([row[1:] for row in rows]))
    return every_row(keys, sessions)


def test_any_change_of_a_feature_raises_the_version() -> None:
    batch = fixed_log()
    digest = hashlib.sha256(" ".join((*FEATURE_NAMES, *SEQUENCE_CHANNELS)).encode())
    for values in (compute(batch), compute_sequences(batch)):
        # One bit pattern for every NaN and zero, whatever the processor makes of them.
        digest.update(np.where(np.isnan(values), np.float32(-1e30), values + np.float32(0)).tobytes())
    assert digest.hexdigest() == GOLDEN[FEATURE_VERSION], (
        "Features changed: raise FEATURE_VERSION and add its hash here; artifacts built with the old one are refused."
    )
