from __future__ import annotations

from inference.supervision.backoff import FIRST_SECONDS, HEALTHY_SECONDS, LONGEST_SECONDS, Backoff


def test_pauses_double_up_to_a_bound() -> None:
    backoff = Backoff()
    pauses = [backoff.after(0.0) for _ in range(12)]
    assert pauses[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert pauses[-1] == LONGEST_SECONDS
    assert pauses == sorted(pauses)


def test_a_healthy_time_makes_the_next_pause_short_again() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(HEALTHY_SECONDS - 1)
    assert backoff.after(HEALTHY_SECONDS) == FIRST_SECONDS
    assert backoff.after(0.0) == 2 * FIRST_SECONDS
