"""Bearer tokens with roles. The server's file holds SHA-256 hashes only.

A token is 256 random bits, so a plain hash is enough: there is no dictionary to try, which is what salts and slow
hashes are for. Comparison takes the same time wherever two hashes differ.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from inference.calls import Metadata

HEADER: Final = "authorization"
_SCHEME: Final = "bearer "
_TOKEN_BYTES: Final = 32
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_MAX_FILE_BYTES: Final = 1024 * 1024
_LINE: Final = "`ROLE SHA256 NAME`, as `playfuse token new` prints it"


class Role(StrEnum):
    """What a token allows."""

    PREDICT = "predict"
    """To ask about players and models."""
    ADMIN = "admin"
    """To change what is served as well."""

    def allows(self, needed: Role) -> bool:
        """Whether this role may do what `needed` may."""
        return self is Role.ADMIN or self is needed


class Token(NamedTuple):
    """A token as the server knows it.

    Attributes:
        role: what it allows.
        digest: SHA-256 of it, 32 bytes.
        name: who has it; for people.
    """

    role: Role
    digest: bytes
    name: str = ""

    @property
    def line(self) -> str:
        """As the file has it."""
        return f"{self.role} {self.digest.hex()} {self.name}".rstrip()


UNAUTHENTICATED: Final = "a valid bearer token is needed"


class Tokens:
    """All tokens that the server takes.

    Args:
        tokens: at least one.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tuple(tokens)

    def role_of(self, metadata: Metadata) -> Role | None:
        """The role of a call's `authorization: Bearer …`; none where it has no valid one, or more than one."""
        values = [value for key, value in metadata if key == HEADER]
        if len(values) != 1:
            return None
        value = values[0]
        text = value if isinstance(value, str) else value.decode("latin-1")
        if text[: len(_SCHEME)].lower() != _SCHEME:
            return None
        digest = _digest(text[len(_SCHEME) :].strip())
        found: Role | None = None
        for token in self._tokens:  # all of them, whichever fits: the time tells nothing
            if hmac.compare_digest(digest, token.digest):
                found = token.role
        return found


def mint(role: Role, name: str = "") -> tuple[str, Token]:
    """A new token, and what the server shall know of it.

    Raises:
        PlayfuseError: the name has line breaks or more.
    """
    if not name.isprintable() or name != name.strip():
        raise PlayfuseError("the token's name", got=repr(name), expected="printable text")
    secret = f"pf_{secrets.token_urlsafe(_TOKEN_BYTES)}"
    return secret, Token(role, _digest(secret), name)


def read(path: Path) -> Tokens:
    """Read a tokens file: one token a line, `#` begins a comment.

    Raises:
        PlayfuseError: names the file and the line; never what stands there, which may be a token by mistake.
    """
    where = f"tokens file {path}"
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise PlayfuseError(where, got=f"{path.stat().st_size} bytes", expected=f"at most {_MAX_FILE_BYTES}")
        text = path.read_text()
    except OSError as error:
        raise PlayfuseError(where, got=error.strerror or str(error), expected="a readable file") from error
    except UnicodeDecodeError as error:
        raise PlayfuseError(where, got="bytes that are no text", expected=f"lines {_LINE}") from error
    return parse(text.splitlines(), where)


def parse(lines: Iterable[str], where: str) -> Tokens:
    """The same of the lines themselves.

    Raises:
        PlayfuseError: see `read`.
    """
    tokens: dict[bytes, Token] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split(maxsplit=2)
        if not words:
            continue
        token = _token(words, f"{where}, line {number}")
        if token.digest in tokens:
            raise PlayfuseError(f"{where}, line {number}", got="a token again", expected="each token once")
        tokens[token.digest] = token
    if not tokens:
        raise PlayfuseError(
            where, got="no tokens", expected=f"lines {_LINE}", fix="Make one with `playfuse token new`."
        )
    return Tokens(list(tokens.values()))


def _token(words: Sequence[str], where: str) -> Token:
    try:
        role = Role(words[0])
    except ValueError:
        # Not `from`: the traceback would quote what may be a secret.
        raise PlayfuseError(where, got="no role at its start", expected=_LINE, fix=f"Roles: {_roles()}.") from None
    if len(words) < 2 or not _DIGEST.fullmatch(words[1]):
        raise PlayfuseError(where, got="no SHA-256 (64 hexadecimal digits) after the role", expected=_LINE)
    return Token(role, bytes.fromhex(words[1]), words[2].strip() if len(words) > 2 else "")


def _roles() -> str:
    return ", ".join(role.value for role in Role)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
