"""The root of every error the build half raises for a fault its user can mend."""

from __future__ import annotations

from inference.contract.errors import PlayfuseError


class FusionError(PlayfuseError):
    """A recipe, a teacher, a log or a decomposition that cannot be used as it stands."""
