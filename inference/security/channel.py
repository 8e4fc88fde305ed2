"""The client's side: a channel with or without TLS, and the token that each call shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from inference.contract.errors import PlayfuseError
from inference.security.tls import check_authorities, check_pair
from inference.security.tokens import HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LOOPBACK: Final = re.compile(r"(?:\w+:/*)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?")
"""Targets on this machine."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How a client knows the server, and the server the client.

    Attributes:
        ca_file: PEM certificates of the server's authorities; none: those that gRPC ships.
        certificate_file: PEM, where the server asks for the client's (mTLS).
        key_file: of that certificate.
        server_name: the name in the server's certificate, where it is not the target's.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """For a secure channel.

        Raises:
            PlayfuseError: names the file that cannot be used.
        """
        if (self.certificate_file is None) != (self.key_file is None):
            raise PlayfuseError("TLS of the client", got="one of certificate and key", expected="both or none")
        ca = None
        if self.ca_file is not None:
            ca = _read(self.ca_file)
            check_authorities("TLS authorities", self.ca_file)
        if self.certificate_file is None or self.key_file is None:
            return grpc.ssl_channel_credentials(ca)
        certificate, key = _read(self.certificate_file), _read(self.key_file)
        check_pair(self.certificate_file, self.key_file)
        return grpc.ssl_channel_credentials(ca, key, certificate)


def connect(target: str, tls: ClientTls | None, options: Sequence[tuple[str, int | str]] = ()) -> grpc.Channel:
    """A channel to a server, in plain text where `tls` is none.

    gRPC asks the proxy that the environment names even for loopback, which is another one there: not so here.

    Raises:
        PlayfuseError: a TLS file cannot be used.
    """
    if _LOOPBACK.fullmatch(target):
        options = [*options, ("grpc.enable_http_proxy", 0)]
    if tls is None:
        return grpc.insecure_channel(target, options=options)
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return grpc.secure_channel(target, tls.credentials(), options=[*options, *named])


def authorization(token: str) -> tuple[tuple[str, str], ...]:
    """Metadata that shows a token; empty for none.

    Raises:
        PlayfuseError: it cannot be one. The fault does not quote it.
    """
    if not token:
        return ()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise PlayfuseError("the token", got="characters that no header can hold", expected="what `token new` printed")
    return ((HEADER, f"Bearer {token}"),)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PlayfuseError(
            f"TLS file {path}", got=error.strerror or str(error), expected="a readable PEM file"
        ) from error
