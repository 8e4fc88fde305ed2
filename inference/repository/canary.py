"""A version on trial: compared with the live one while it answers a part of the calls, and taken back if it does worse.

An error is a call that got the priors because the model failed, or that found no room or no answer in time. The time of
a call is its wait for the engine and the run that it was in. Both versions run in the same process on the same machine
over the same minute, so what slows the machine slows both.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.metrics import ModelMetrics
    from inference.settings import CanaryBounds

_LOG = logging.getLogger(__name__)


class Tally(NamedTuple):
    """What a version did, so far or in a window.

    Attributes:
        calls: that it was given.
        errors: of them: priors, no room, or not in time.
        answered: calls that were answered.
        answer_seconds: sum of their times.
    """

    calls: float
    errors: float
    answered: float
    answer_seconds: float

    @classmethod
    def of(cls, metrics: ModelMetrics) -> Tally:
        """So far."""
        sums, unanswered = metrics.runs.read(), metrics.unanswered.value
        answered = sums.answered + sums.faulty
        seconds = sums.waited_seconds + sums.computed_seconds + sums.faulty_seconds
        return cls(answered + unanswered, metrics.degraded.value + unanswered, answered, seconds)

    def since(self, earlier: Tally) -> Tally:
        """What was done in between."""
        return Tally(*(now - then for now, then in zip(self, earlier, strict=True)))

    @property
    def error_rate(self) -> float:
        """Errors per call; 0 without calls."""
        return self.errors / self.calls if self.calls else 0.0

    @property
    def mean_seconds(self) -> float:
        """Mean time of a call; 0 without answers."""
        return self.answer_seconds / self.answered if self.answered else 0.0


class Verdict(NamedTuple):
    """Why a version is taken back.

    Attributes:
        reason: `errors` or `latency`: a metric's label.
        text: with the figures, for people.
    """

    reason: str
    text: str


class Judge:
    """Compares two versions over a sliding window.

    Where the live version had too few calls in the window (all go to the one on trial, say), what it did since the
    server started stands in; where that is too little as well, no time is judged, and any error counts.

    Args:
        bounds: what the version on trial may do worse.
        live: counters of the live version.
        canary: counters of the version on trial.
        now_seconds: `time.monotonic`.
    """

    def __init__(self, bounds: CanaryBounds, live: ModelMetrics, canary: ModelMetrics, now_seconds: float) -> None:
        self._bounds = bounds
        self._live = live
        self._canary = canary
        self._seen = deque([(now_seconds, Tally.of(live), Tally.of(canary))])
        self._lock = threading.Lock()

    def look(self, now_seconds: float) -> Verdict | None:
        """Judge what happened in the window that ends now; none: nothing against it, or too few calls to tell."""
        live, canary = self.window(now_seconds)
        bounds = self._bounds
        if canary.calls < bounds.min_calls:
            return None
        if live.calls < bounds.min_calls:
            live = Tally.of(self._live)
        is_known = live.calls >= bounds.min_calls
        rate, live_rate = canary.error_rate, live.error_rate if is_known else 0.0
        if rate > live_rate + bounds.max_more_errors:
            said = f"{rate:.2%} of {canary.calls:.0f} calls failed, of the live version's {live_rate:.2%}"
            return Verdict("errors", f"{said}; at most {bounds.max_more_errors:.2%} more may")
        limit = bounds.max_latency_ratio * live.mean_seconds + bounds.latency_slack_seconds
        if is_known and canary.mean_seconds > limit:
            said = f"{canary.mean_seconds * 1e3:.3g} ms per call, the live version {live.mean_seconds * 1e3:.3g} ms"
            return Verdict("latency", f"{said}; at most {limit * 1e3:.3g} ms")
        return None

    def window(self, now_seconds: float) -> tuple[Tally, Tally]:
        """What the live version and the one on trial did in the window that ends now."""
        live, canary = Tally.of(self._live), Tally.of(self._canary)
        with self._lock:
            seen = self._seen
            seen.append((now_seconds, live, canary))
            while len(seen) > 1 and seen[1][0] <= now_seconds - self._bounds.window_seconds:
                seen.popleft()
            _, live_before, canary_before = seen[0]
        return live.since(live_before), canary.since(canary_before)


class Watch:
    """Looks again and again, on a thread of its own, until told to stop or until it has seen enough.

    Args:
        look: whether to go on.
        every_seconds: the pause between two looks.
    """

    def __init__(self, look: Callable[[], bool], every_seconds: float) -> None:
        self._look = look
        self._every_seconds = every_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; returns when the thread has ended, unless it is the one that calls."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._every_seconds):
            try:
                if not self._look():
                    return
            except Exception:  # a trial without its watch would be worse than a line in the log
                _LOG.exception("judging the version on trial failed; it is tried again")
