from __future__ import annotations

import pytest

from inference.contract.errors import PlayfuseError
from inference.security.exposure import check, is_loopback
from inference.settings import ServerSettings, TlsSettings

TLS = TlsSettings.model_validate({"certificate_file": "a", "key_file": "b"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "unix:/run/playfuse"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    check(ServerSettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "no.such.name.invalid", "x" * 300])
def test_elsewhere_plain_text_has_to_be_meant(host: str) -> None:
    with pytest.raises(PlayfuseError, match=r"an address beyond loopback, without TLS.*--insecure-public"):
        check(ServerSettings(host=host))
    check(ServerSettings(host=host, insecure_public=True))
    check(ServerSettings(host=host, tls=TLS))


def test_metrics_have_no_tls() -> None:
    settings = ServerSettings(metrics_host="0.0.0.0", tls=TLS)
    with pytest.raises(PlayfuseError, match=r"metrics address 0\.0\.0\.0: .*--insecure-public"):
        check(settings)
    check(settings.model_copy(update={"insecure_public": True}))
