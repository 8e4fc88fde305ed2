"""TLS of the gRPC port from PEM files. A renewed certificate is taken up by the next connection, without a restart."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, NamedTuple, cast

import grpc

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inference.settings import TlsSettings

_LOG = logging.getLogger(__name__)


class _Stamp(NamedTuple):
    """What changes with a file: Kubernetes swaps a link, others write in place or rename."""

    inode: int
    size_bytes: int
    modified_ns: int


class Certificates:
    """The files of one server, read anew whenever they have changed.

    Args:
        tls: with a certificate.

    Raises:
        PlayfuseError: names the file that cannot be used.
    """

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._stamps = self._seen()
        self._current = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`. Clients have to show a certificate where their authorities are known."""
        # The stubs do not know that the fetcher may say that nothing has changed.
        fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", self.renewed)
        return grpc.dynamic_ssl_server_credentials(
            self._current, fetcher, require_client_authentication=self._tls.client_ca_file is not None
        )

    def renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """What new connections shall use from now on; none where nothing has changed or the new files are unusable."""
        seen = self._seen()
        if seen == self._stamps:
            return None
        self._stamps = seen
        try:
            self._current = self._read()
        except PlayfuseError as error:
            _LOG.error("the renewed certificate is not used, the former one still is: %s", error)
            return None
        _LOG.info("a renewed certificate is used for new connections")
        return self._current

    def _read(self) -> grpc.ServerCertificateConfiguration:
        tls = self._tls
        assert tls.certificate_file is not None
        assert tls.key_file is not None
        certificate = _content("tls.certificate_file", tls.certificate_file)
        key = _content("tls.key_file", tls.key_file)
        authorities = None if tls.client_ca_file is None else _content("tls.client_ca_file", tls.client_ca_file)
        check_pair(tls.certificate_file, tls.key_file)
        if tls.client_ca_file is not None:
            check_authorities("tls.client_ca_file", tls.client_ca_file)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)

    def _seen(self) -> tuple[_Stamp | None, ...]:
        paths = (self._tls.certificate_file, self._tls.key_file, self._tls.client_ca_file)
        return tuple(None if path is None else _stamp(path) for path in paths)


def check_pair(certificate: Path, key: Path) -> None:
    """Whether a certificate and a key can be used together.

    Raises:
        PlayfuseError: names the one that cannot.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(certificate)
    except (ssl.SSLError, ValueError) as error:
        raise PlayfuseError(f"TLS certificate {certificate}", got=_said(error), expected="PEM certificates") from error
    try:
        # Without a password of ours OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise PlayfuseError(
            f"TLS key {key}", got=_said(error), expected=f"the unencrypted PEM key of {certificate}"
        ) from error


def check_authorities(where: str, path: Path) -> None:
    """Whether a file holds certificates of authorities.

    Raises:
        PlayfuseError: it does not.
    """
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except (ssl.SSLError, ValueError) as error:
        raise PlayfuseError(f"{where} {path}", got=_said(error), expected="PEM certificates") from error


def _content(where: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise PlayfuseError(f"{where} {path}", got=said or "an unreadable file", expected="a readable file") from error


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).lower().replace("_", " ")
