"""The root of every error a user can cause: it says where, what was got, what was expected, how to fix it."""

from __future__ import annotations


class PlayfuseError(Exception):
    """A fault the caller can mend.

    Args:
        where: the file, field, feature or row at fault.
        got: what was found there.
        expected: what should have been there.
        fix: one sentence that tells how to mend it; empty where `expected` says it all.
    """

    def __init__(self, where: str, *, got: object, expected: str, fix: str = "") -> None:
        self.where = where
        self.got = str(got)
        self.expected = expected
        self.fix = fix
        super().__init__(f"{where}: got {self.got}, expected {expected}." + (f" {fix}" if fix else ""))


class InvalidRequest(PlayfuseError):  # noqa: N818 - named after the gRPC status it becomes, INVALID_ARGUMENT
    """A request that can never succeed as it stands. Harms no other caller's request."""


class ArtifactError(PlayfuseError):
    """An artifact that must not be served: missing, damaged, of another schema, or failing its parity check."""
