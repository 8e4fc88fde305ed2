from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.instruments import Counter, Histogram


def test_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(0.5, 1.0, 1.5, 2.0, 2.5)
    assert histogram.read().counts == (2, 2, 1)
    assert histogram.read().total == pytest.approx(7.5)


@given(st.lists(st.floats(-10, 10)))
def test_every_observation_is_in_exactly_one_bucket(values: list[float]) -> None:
    histogram = Histogram((-1.0, 0.0, 3.0))
    histogram.observe(*values)
    counts, total = histogram.read()
    assert counts == (
        sum(v <= -1 for v in values),
        sum(-1 < v <= 0 for v in values),
        sum(0 < v <= 3 for v in values),
        sum(v > 3 for v in values),
    )
    assert total == pytest.approx(sum(values), abs=1e-9)


def test_no_count_is_lost_between_threads() -> None:
    counter, histogram = Counter(), Histogram((1.0,))

    def work() -> None:
        for _ in range(5_000):
            counter.add()
            counter.add(2)
            histogram.observe(0.5, 1.5)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.value == 8 * 5_000 * 3
    assert histogram.read().counts == (40_000, 40_000)
