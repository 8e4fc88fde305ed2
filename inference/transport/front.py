"""What carries calls in bursts and takes their replies: the low-level side of a transport, as `bursts` sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.calls import Metadata, Status

CALL: Final = 0
"""Kind of an event: a call has come. Any other: its caller has gone."""

# Kind, call, method, message, who sent it; metadata, peer and the seconds until the deadline.
Details = tuple["Metadata", str, float | None]
Event = tuple[int, int, int, bytes | None, object, Details | None]


class Front(Protocol):
    """The sending side of a transport. Any thread may use it; a call is answered once, later answers are lost."""

    def respond(self, call_id: int, payload: bytes) -> bool:
        """Send a reply; whether anybody waits for it."""
        ...

    def fail(
        self, call_id: int, code: int, message: str, trailing_metadata: Sequence[tuple[str, str | bytes]] | None = None
    ) -> bool:
        """Send a status; whether anybody waits for it."""
        ...


def refuse(front: Front, call_ids: Sequence[int], status: Status) -> None:
    """Send the same status to many."""
    code: int = status.code.value[0]
    # The front keeps these names to itself and refuses them.
    trailing = [(key, value) for key, value in status.trailing if not key.startswith("grpc-")]
    for call_id in call_ids:
        front.fail(call_id, code, status.details, trailing)
