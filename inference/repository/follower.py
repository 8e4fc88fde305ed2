"""The thread of a server that is one of several: it follows the owner, and owns once it is told to."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, NamedTuple

from inference.repository.following import follow
from inference.supervision.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.repository.canary import Verdict
    from inference.repository.repository import Repository
    from inference.repository.state import Serving

_LOG = logging.getLogger(__name__)


class _TakeBack(NamedTuple):
    name: str
    version: str
    verdict: Verdict


class _Own(NamedTuple):
    pass


class _Close(NamedTuple):
    pass


class Follower:
    """Does one after the other what it is told, off the threads that serve. What cannot be done is tried again.

    Args:
        repository: that follows.
        own: called when it owns from now on: lets operators in. What it raises has it called again later.
    """

    def __init__(self, repository: Repository, own: Callable[[], None]) -> None:
        self._repository = repository
        self._own = own
        self._told: queue.SimpleQueue[Serving | _TakeBack | _Own | _Close] = queue.SimpleQueue()
        self._wanted: Serving | None = None
        self._is_to_own = False
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def follow(self, serving: Serving) -> None:
        """The owner serves that; serve the same."""
        self._told.put(serving)

    def take_back(self, name: str, version: str, verdict: Verdict) -> None:
        """Another server has found that a version on trial does too badly; heard by an owner only."""
        self._told.put(_TakeBack(name, version, verdict))

    def own(self) -> None:
        """Decide from now on, with what is served here; what was told before is followed first, as far as it can be."""
        self._told.put(_Own())

    def close(self) -> None:
        """Follow no more; returns when the change under way is made."""
        self._told.put(_Close())
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        backoff, pause_seconds = Backoff(), None
        while True:
            try:
                told = self._told.get(timeout=pause_seconds)
            except queue.Empty:
                told = None
            if isinstance(told, _Close):
                return
            if told is not None:
                backoff = Backoff()
            try:
                is_done = self._do(told)
            except Exception:  # a follower without its thread would never follow again
                _LOG.exception("following the owner failed; it is tried again")
                is_done = False
            pause_seconds = None if is_done else backoff.after(0.0)

    def _do(self, told: Serving | _TakeBack | _Own | None) -> bool:
        """Do that, or what is left; whether nothing is."""
        member = self._repository.member
        if isinstance(told, _TakeBack):
            if member.owns:
                self._repository.trials.take_back(*told)
        elif isinstance(told, _Own):
            self._is_to_own = True
        elif told is not None and not member.owns:
            self._wanted = told
        if self._wanted is not None and follow(self._repository, self._wanted.models):
            self._wanted = None
        if self._is_to_own:
            # What could not be followed is not wanted any more: from now on the others follow.
            self._own()
            self._is_to_own, self._wanted = False, None
        return self._wanted is None
