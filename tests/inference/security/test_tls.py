from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import grpc
import pytest

from inference.client import CallFailed, Client
from inference.contract.errors import PlayfuseError
from inference.security.channel import ClientTls, authorization
from inference.security.tls import Certificates
from inference.settings import TlsSettings
from tests.support.certificates import Authority, Pair
from tests.support.serving import served

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def tls(pair: Pair, client_ca: Path | None = None) -> TlsSettings:
    return TlsSettings(certificate_file=pair.certificate, key_file=pair.key, client_ca_file=client_ca)


def answers(address: str, secure: ClientTls | None) -> bool:
    with Client(address, timeout_seconds=PATIENCE_SECONDS, max_attempts=1, tls=secure) as client:
        try:
            return client.predict(features={"sessions_7d": [1.0]}).values.shape == (1, 8)
        except CallFailed as error:
            if error.code is grpc.StatusCode.UNAVAILABLE:
                return False
            raise


def test_only_who_speaks_tls_and_knows_the_authority_is_answered(authority: Authority, tmp_path: Path) -> None:
    with served(tmp_path / "a", tls=tls(authority.sign("server"))) as server:
        assert answers(server.address, ClientTls(authority.certificate))
        assert answers(server.address, ClientTls(authority.certificate, server_name="localhost"))
        assert not answers(server.address, ClientTls(authority.certificate, server_name="other.example"))
        assert not answers(server.address, ClientTls(Authority(tmp_path, "other").certificate))
        assert not answers(server.address, None)


def test_mutual_tls_asks_for_the_clients_certificate(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    mine, foreign = authority.sign("client"), other.sign("foreign")
    with served(tmp_path / "a", tls=tls(authority.sign("server"), authority.certificate)) as server:
        assert answers(server.address, ClientTls(authority.certificate, mine.certificate, mine.key))
        assert not answers(server.address, ClientTls(authority.certificate))
        assert not answers(server.address, ClientTls(authority.certificate, foreign.certificate, foreign.key))


def test_a_renewed_certificate_is_used_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    pair, new = authority.sign("server"), Authority(tmp_path, "new")
    used = Pair(tmp_path / "used.pem", tmp_path / "used.key")
    copy(pair, used)
    with served(tmp_path / "a", tls=tls(used)) as server:
        assert answers(server.address, ClientTls(authority.certificate))
        used.key.write_text("half a key")  # while it is being renewed
        assert answers(server.address, ClientTls(authority.certificate))
        copy(new.sign("renewed"), used)
        assert answers(server.address, ClientTls(new.certificate))
        assert not answers(server.address, ClientTls(authority.certificate))


def copy(source: Pair, target: Pair) -> None:
    shutil.copy(source.certificate, target.certificate)
    shutil.copy(source.key, target.key)


def test_nothing_new_is_nothing_to_read(authority: Authority, tmp_path: Path) -> None:
    pair = authority.sign("server")
    certificates = Certificates(tls(pair))
    assert certificates.renewed() is None
    shutil.copy(authority.sign("again").certificate, pair.certificate)  # not of this key
    assert certificates.renewed() is None
    copy(authority.sign("again"), pair)
    assert certificates.renewed() is not None
    assert certificates.renewed() is None
    pair.key.unlink()
    assert certificates.renewed() is None


def test_a_file_that_cannot_be_used_is_named(authority: Authority, tmp_path: Path) -> None:
    pair, other = authority.sign("server"), authority.sign("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    none = tmp_path / "none.pem"
    for settings, said in (
        (tls(Pair(none, pair.key)), r"tls\.certificate_file .*none\.pem: got No such file"),
        (tls(Pair(pair.certificate, none)), r"tls\.key_file .*none\.pem: got No such file"),
        (tls(Pair(text, pair.key)), r"TLS certificate .*text\.pem: got .*, expected PEM certificates"),
        (tls(Pair(pair.certificate, text)), r"TLS key .*text\.pem: got .*, expected the unencrypted PEM key of"),
        (tls(Pair(pair.certificate, other.key)), r"TLS key .*other\.key: got key values mismatch"),
        (tls(pair, text), r"tls\.client_ca_file .*text\.pem: got"),
    ):
        with pytest.raises(PlayfuseError, match=said):
            Certificates(settings)


def test_files_of_a_client_are_checked_too(authority: Authority, tmp_path: Path) -> None:
    pair = authority.sign("client")
    for secure, said in (
        (ClientTls(tmp_path / "none.pem"), r"TLS file .*none\.pem: got No such file"),
        (ClientTls(pair.key), r"TLS authorities .*client\.key: got"),
        (ClientTls(None, pair.certificate), "got one of certificate and key"),
        (ClientTls(None, pair.certificate, authority.sign("x").key), "TLS key"),
    ):
        with pytest.raises(PlayfuseError, match=said):
            Client("127.0.0.1:1", tls=secure)


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "ümlaut"])
def test_what_no_header_can_hold_is_refused_and_not_quoted(token: str) -> None:
    with pytest.raises(PlayfuseError, match="the token") as refused:
        authorization(token)
    assert token not in str(refused.value)
