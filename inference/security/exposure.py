"""Where the server may listen: nothing leaves loopback in plain text by mistake."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Final

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from inference.settings import ServerSettings

_UNIX: Final = "unix:"


def check(settings: ServerSettings) -> None:
    """Whether the addresses may be listened on.

    Raises:
        PlayfuseError: one of them is reachable from elsewhere without TLS, and nobody said that this is meant.
    """
    if settings.insecure_public:
        return
    if not settings.tls.is_on and not is_loopback(settings.host):
        raise PlayfuseError(
            f"address {settings.host}",
            got="an address beyond loopback, without TLS",
            expected="TLS, or loopback",
            fix="Give --tls-certificate and --tls-key; in a trusted network or a container, say --insecure-public.",
        )
    if settings.models is not None and not is_loopback(settings.admin_host):
        raise PlayfuseError(
            f"admin address {settings.admin_host}",
            got="an address beyond loopback; the admin's port has no TLS",
            expected="loopback",
            fix="Reach it from this machine; where nobody else can, say --insecure-public and give --tokens.",
        )
    if not is_loopback(settings.metrics_host):
        raise PlayfuseError(
            f"metrics address {settings.metrics_host}",
            got="an address beyond loopback; /metrics has no TLS",
            expected="loopback",
            fix="Where only the scraper can reach it, say --insecure-public; TLS on the gRPC port stays as it is.",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name counts as what it resolves to, all of it."""
    if host.startswith(_UNIX):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # nobody knows; whoever listens there will say more
    return all(ipaddress.ip_address(str(address[4][0]).partition("%")[0]).is_loopback for address in found)
