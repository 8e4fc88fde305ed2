"""The same history gives the same bits: alone, in a batch, in any order, or inside the big offline table."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.telemetry.dataset import Dataset, build
from fusion.telemetry.simulate import simulate
from inference.contract.features import compute, compute_sequences
from inference.contract.history import HistoryBatch, SessionTable
from tests.support.histories import Session, alone, every_row, joined, logs


def bits(batch: HistoryBatch) -> list[bytes]:
    """Bytes of each row's features and sequence."""
    pairs = zip(compute(batch), compute_sequences(batch), strict=True)
    return [features.tobytes() + sequence.tobytes() for features, sequence in pairs]


def of_alone(sessions: SessionTable, begin: int, end: int, as_of_seconds: int) -> bytes:
    rows = slice(begin, end)
    columns = (sessions.start_seconds, sessions.duration_seconds, sessions.coop)
    history = list(zip(*(column[rows].tolist() for column in columns), strict=True))
    return bits(alone(history, as_of_seconds))[0]


@settings(max_examples=40)
@given(logs(max_sessions=40), st.randoms(use_true_random=False), st.data())
def test_a_history_alone_is_its_row_of_the_offline_table(
    log: list[list[Session]], shuffler: random.Random, data: st.DataObject
) -> None:
    batch = every_row(*joined(log))
    offline = bits(batch)
    chosen = data.draw(st.lists(st.integers(0, len(batch) - 1), min_size=1, max_size=8))
    for row in chosen:
        begin, end, as_of = (int(values[row]) for values in (batch.begin, batch.end, batch.as_of_seconds))
        assert of_alone(batch.sessions, begin, end, as_of) == offline[row]
    picked = np.array(chosen)
    some = HistoryBatch(batch.sessions, batch.begin[picked], batch.end[picked], batch.as_of_seconds[picked])
    assert bits(some) == [offline[row] for row in chosen]
    order = list(range(len(log)))
    shuffler.shuffle(order)
    moved = bits(every_row(*joined([log[player] for player in order])))
    assert sorted(moved) == sorted(offline)


@pytest.fixture(scope="module")
def simulated() -> Dataset:
    dataset = build(simulate(1_300, seed=3))
    assert len(dataset) > 17_000, "more rows than one chunk of the computation"
    return dataset


def test_rows_beyond_one_chunk_are_the_same_bits(simulated: Dataset) -> None:
    batch = simulated.histories
    last = len(batch) - 1
    rows = np.array([0, 1, 16_383, 16_384, 16_385, last, *range(7, last, 97)], dtype=np.int64)
    sequences = compute_sequences(batch)
    assert simulated.sequences(rows).tobytes() == sequences[rows].tobytes()
    for row in rows.tolist():
        begin, end, as_of = (int(values[row]) for values in (batch.begin, batch.end, batch.as_of_seconds))
        expected = simulated.features[row].tobytes() + sequences[row].tobytes()
        assert of_alone(batch.sessions, begin, end, as_of) == expected
