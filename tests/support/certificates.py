"""Certificates for loopback, made on the spot by OpenSSL."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its own lies beside them."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl on this machine")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = Pair(folder / f"{name}.pem", folder / f"{name}.key")
        _openssl(
            *("req", "-x509", *_new_key(self._own.key), "-out", self._own.certificate, "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
        )

    @property
    def certificate(self) -> Path:
        return self._own.certificate

    def sign(self, name: str) -> Pair:
        """A pair for localhost and 127.0.0.1."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        _openssl(
            *("req", "-x509", *_new_key(pair.key), "-out", pair.certificate, "-subj", f"/CN={name}"),
            *("-CA", self._own.certificate, "-CAkey", self._own.key),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"),
        )
        return pair


def _new_key(path: Path) -> tuple[object, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", path, "-days", "2")


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
