"""Why a request was not computed. None of these is the fault of the request itself (`InvalidRequest` is)."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an outcome of admission, not a fault of anybody's
    """A request that was not computed. `reason` is a metric label."""

    reason = "refused"


class QueueFull(Refused):
    """Too many players wait already; worth another try after `retry_after_ms`."""

    reason = "queue_full"

    def __init__(self, waiting_rows: int, max_rows: int, retry_after_ms: int) -> None:
        self.retry_after_ms = retry_after_ms
        super().__init__(f"{waiting_rows} players wait already, of at most {max_rows}; retry in {retry_after_ms} ms")


class DeadlineMissed(Refused):
    """The answer would come, or came, after the caller's deadline."""

    reason = "deadline"


class Cancelled(Refused):
    """The caller no longer wants the answer."""

    reason = "cancelled"


class Closed(Refused):
    """The server is shutting down and takes no more requests."""

    reason = "shutting_down"


class Overloaded(QueueFull):
    """More calls wait for a thread than may."""

    reason = "overloaded"

    def __init__(self, retry_after_ms: int) -> None:
        self.retry_after_ms = retry_after_ms
        Refused.__init__(self, f"too many calls wait already; retry in {retry_after_ms} ms")


class UnknownModel(Refused):
    """No such model or version is served."""

    reason = "unknown_model"


class TooLarge(Refused):
    """The message is larger than the server reads."""

    reason = "too_large"

    def __init__(self, message_bytes: int, max_bytes: int) -> None:
        super().__init__(f"a message of {message_bytes} bytes, at most {max_bytes} are read")


class Unauthenticated(Refused):
    """The call shows no valid token."""

    reason = "unauthenticated"


class PermissionDenied(Refused):
    """The call's token is valid, but not for this."""

    reason = "permission_denied"
