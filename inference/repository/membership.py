"""One of several servers of the same models: one of them owns what is served, the others follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from inference.repository.canary import Verdict
    from inference.repository.state import Serving


class Line(Protocol):
    """Reaches the others. Any thread may call; who cannot be reached any more is not worth a word."""

    def publish(self, serving: Serving) -> None:
        """Tell what is served from now on; the owner's word."""
        ...

    def report(self, name: str, version: str, verdict: Verdict) -> None:
        """Tell the owner that a version on trial should be taken back."""
        ...

    def release(self) -> None:
        """Let another one be the owner."""
        ...


class Membership:
    """What a server is among the others; one that is alone owns what it serves.

    Attributes:
        owns: whether it decides what is served. It begins as a follower and is told when it owns.
        was: what the others serve when it starts; none where nobody knows, then the state file tells.

    Args:
        line: to the others; none where there are none.
        was: see above.
    """

    def __init__(self, line: Line | None = None, was: Serving | None = None) -> None:
        self._line = line
        self.was = was
        self.owns = line is None

    def publish(self, serving: Serving) -> None:
        """See `Line`."""
        if self._line is not None:
            self._line.publish(serving)

    def report(self, name: str, version: str, verdict: Verdict) -> None:
        """See `Line`."""
        if self._line is not None:
            self._line.report(name, version, verdict)

    def release(self) -> None:
        """Own no more."""
        if self._line is not None and self.owns:
            self.owns = False
            self._line.release()
