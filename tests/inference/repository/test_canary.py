"""The judge, with counters that a test moves and a clock that it turns."""

from __future__ import annotations

import threading

import pytest

from inference.core import Request, Response
from inference.metrics import ModelMetrics
from inference.repository.canary import Judge, Watch
from inference.settings import CanaryBounds

BOUNDS = CanaryBounds(window_seconds=60, min_calls=100)
PATIENCE_SECONDS = 30.0


class Case:
    def __init__(self, **bounds: float) -> None:
        self.live, self.canary = ModelMetrics(1), ModelMetrics(1)
        self.now_seconds = 1_000.0
        self.judge = Judge(BOUNDS.model_copy(update=bounds), self.live, self.canary, self.now_seconds)

    def verdict(self, after_seconds: float = 1.0) -> str | None:
        self.now_seconds += after_seconds
        verdict = self.judge.look(self.now_seconds)
        return verdict and verdict.reason


def answer(metrics: ModelMetrics, calls: int, *, degraded: int = 0, seconds: float = 0.001) -> None:
    """Calls that waited half of the time for a run that took the other half, one by one."""
    for number in range(calls):
        metrics.batch([Response(Request(b"", 1), b"", number < degraded)], [seconds / 2], seconds / 2)


def test_one_that_does_as_well_stays() -> None:
    case = Case()
    for _ in range(10):
        answer(case.live, 1_000, degraded=2)
        answer(case.canary, 100)
        assert case.verdict() is None


def test_errors_take_it_back() -> None:
    case = Case()
    answer(case.live, 1_000)
    answer(case.canary, 100, degraded=3)
    assert case.verdict() == "errors"


def test_calls_that_got_no_answer_in_time_are_errors() -> None:
    case = Case()
    answer(case.live, 1_000)
    answer(case.canary, 97)
    case.canary.unanswered.add(3)
    assert case.verdict() == "errors"


def test_errors_that_the_live_version_makes_as_well_are_no_reason() -> None:
    case = Case()
    answer(case.live, 1_000, degraded=30)
    answer(case.canary, 100, degraded=3)
    assert case.verdict() is None


def test_slowness_takes_it_back() -> None:
    case = Case()
    answer(case.live, 1_000, seconds=0.010)
    answer(case.canary, 100, seconds=0.026)  # more than 2 x 10 ms + 5 ms
    assert case.verdict() == "latency"


def test_slowness_within_the_bound_and_the_slack_is_no_reason() -> None:
    case = Case()
    answer(case.live, 1_000, seconds=0.0001)
    answer(case.canary, 100, seconds=0.004)
    assert case.verdict() is None


def test_nothing_is_judged_before_there_are_enough_calls() -> None:
    case = Case()
    answer(case.live, 1_000)
    answer(case.canary, 99, degraded=99, seconds=9.0)
    assert case.verdict() is None
    answer(case.canary, 1)
    assert case.verdict() == "errors"


def test_only_the_window_counts() -> None:
    case = Case()
    answer(case.live, 1_000)
    answer(case.canary, 99, degraded=9)
    assert case.verdict(1.0) is None
    for _ in range(70):
        answer(case.live, 20)
        assert case.verdict(1.0) is None
    answer(case.live, 1_000)
    answer(case.canary, 200)
    assert case.verdict(1.0) is None
    live, canary = case.judge.window(case.now_seconds)
    assert (canary.calls, canary.errors) == (200, 0)
    assert live.calls == pytest.approx(1_000 + 59 * 20, abs=40)


def test_what_was_counted_before_the_trial_does_not_count() -> None:
    live, canary = ModelMetrics(1), ModelMetrics(1)
    answer(canary, 1_000, degraded=1_000)
    judge = Judge(BOUNDS, live, canary, 0.0)
    answer(live, 200)
    answer(canary, 200)
    assert judge.look(1.0) is None


def test_where_all_calls_are_on_trial_the_live_versions_past_stands_in() -> None:
    live, canary = ModelMetrics(1), ModelMetrics(1)
    answer(live, 1_000, seconds=0.010)
    judge = Judge(BOUNDS, live, canary, 0.0)
    answer(canary, 200, seconds=0.020)
    assert judge.look(1.0) is None
    answer(canary, 200, seconds=0.060)
    verdict = judge.look(2.0)
    assert verdict is not None
    assert verdict.reason == "latency"


def test_where_there_is_nothing_to_compare_with_errors_count_and_time_does_not() -> None:
    case = Case()
    answer(case.canary, 200, seconds=9.0)
    assert case.verdict() is None
    answer(case.canary, 200, degraded=20)
    assert case.verdict() == "errors"


def test_the_reason_has_the_figures() -> None:
    case = Case()
    answer(case.live, 1_000, degraded=5)
    answer(case.canary, 200, degraded=10)
    verdict = case.judge.look(case.now_seconds + 1)
    assert verdict is not None
    assert verdict.text == "5.00% of 200 calls failed, of the live version's 0.50%; at most 1.00% more may"


def test_a_watch_looks_until_it_has_seen_enough(caplog: pytest.LogCaptureFixture) -> None:
    looks = iter(["again", "fault", "again", "enough"])
    seen = threading.Event()

    def look() -> bool:
        what = next(looks)
        if what == "fault":
            raise RuntimeError(what)
        if what == "enough":
            seen.set()
        return what == "again"

    watch = Watch(look, 0.001)
    watch.start()
    assert seen.wait(PATIENCE_SECONDS)
    watch.stop()
    assert next(looks, None) is None
    assert "it is tried again" in caplog.text


def test_a_watch_can_be_stopped_before_it_has_looked() -> None:
    before = threading.active_count()
    watch = Watch(lambda: True, 3_600)
    watch.start()
    watch.stop()
    assert threading.active_count() == before
