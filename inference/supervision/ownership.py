"""Which worker decides what is served of a folder of models, and how the others hear of it.

One owns, and only that one listens on the admin's port. When it is gone or drains, another that serves takes over, with
the versions that it has in memory. What the owner serves is passed on to all the others, and known to those that start.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inference.supervision.messages import Follow, Own

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inference.repository.state import Serving
    from inference.supervision.messages import AnyMessage
    from inference.supervision.process import WorkerProcess

_LOG = logging.getLogger(__name__)


class Ownership:
    """Of the models of one supervisor.

    Args:
        is_needed: whether there is a folder of models.
    """

    def __init__(self, *, is_needed: bool) -> None:
        self._is_needed = is_needed
        self._owner: WorkerProcess | None = None
        self._released: WorkerProcess | None = None
        self.serving: Serving | None = None
        """What the owner said last that it serves; none before any has."""

    @property
    def is_settled(self) -> bool:
        """Whether somebody owns that has to."""
        return not self._is_needed or self.serving is not None

    def hear(self, worker: WorkerProcess, message: AnyMessage, others: Iterable[WorkerProcess]) -> None:
        """Pass on what a worker tells.

        Args:
            worker: that tells it.
            message: what.
            others: workers that serve, whether this one is among them or not.
        """
        if message.kind == "ready" and self.serving is not None:
            worker.tell(Follow(serving=self.serving))  # it may have changed since it began to start
        elif message.kind == "take_back" and self._owner is not None:
            self._owner.tell(message)
        elif message.kind == "released" and worker is self._owner:
            self._owner, self._released = None, worker
        elif message.kind == "follow" and worker is self._owner:
            self.serving = message.serving
            for other in others:
                if other is not worker and other.ready_since_seconds is not None:
                    other.tell(message)

    def gone(self, worker: WorkerProcess) -> None:
        """A worker has ended."""
        if worker is self._owner:
            self._owner = None

    def appoint(self, candidates: Iterable[WorkerProcess]) -> None:
        """Make the first of them that serves the owner, where there is none.

        Args:
            candidates: workers that were not told to leave.
        """
        if not self._is_needed or self._owner is not None:
            return
        for worker in candidates:
            serves = worker.ready_since_seconds is not None and not worker.has_ended
            if serves and worker is not self._released:  # that one drains, whoever told it to
                worker.tell(Own())
                self._owner = worker
                _LOG.info("worker %d (pid %d) owns the models", worker.number, worker.pid)
                return
