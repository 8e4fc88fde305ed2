"""What may be wrong with a wish to change what is served."""

from __future__ import annotations

from inference.contract.errors import PlayfuseError


class Conflict(PlayfuseError):  # noqa: N818 - says what happened; every subclass of PlayfuseError is an error
    """Not possible as things are: nothing to go back to, no version on trial."""


class Busy(PlayfuseError):  # noqa: N818 - likewise
    """Another change is under way."""
