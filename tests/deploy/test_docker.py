from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.servers import running_server
from tests.support.serving import served
from tests.support.tools import tool

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(f"{name} ") for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def copied() -> Iterator[str]:
    """Paths that COPY takes from the checkout."""
    for line in instructions("COPY"):
        if not line.startswith("--from"):
            yield from line.split()[:-1]


def test_hadolint_finds_nothing() -> None:
    command = [tool("hadolint"), str(DOCKER / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_copied_exists_and_is_not_ignored() -> None:
    ignore = [
        line for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    assert ignore[0] == "*"
    allowed = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    for path in copied():
        assert (ROOT / path).exists(), path
        assert any(fnmatch(path, pattern) for pattern in allowed), path
    assert set(allowed) == set(copied())


def test_image_is_pinned_unprivileged_and_serves_only() -> None:
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+( AS build)?", image) for image in instructions("FROM"))
    (user,) = instructions("USER")
    assert int(user.split(":")[0]) > 0
    assert "[fusion" not in DOCKERFILE
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.process
@pytest.mark.xdist_group("deploy")
def test_entry_point_serves_and_health_check_sees_it(tmp_path: Path) -> None:
    (line,) = instructions("ENTRYPOINT")
    entry = json.loads(line)
    assert entry[:2] == ["playfuse", "serve"]
    ports = [entry[entry.index(option) + 1] for option in ("--port", "--metrics-port")]
    assert instructions("EXPOSE") == [" ".join(ports)]
    # The image's own options, but on free ports of loopback.
    options = ["0" if word in ports else "127.0.0.1" if word == "0.0.0.0" else word for word in entry[2:]]
    with running_server(tmp_path, *options) as server:
        assert check(server.address).returncode == 0
    gone = check(server.address)
    assert gone.returncode == 1
    assert "UNAVAILABLE" in gone.stderr


def test_health_check_speaks_tls_where_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("server")
    tls = {"certificate_file": pair.certificate, "key_file": pair.key}
    with served(tmp_path / "a", tls=tls) as server:
        assert check(server.address).returncode == 1
        monkeypatch.setenv("PLAYFUSE_CLIENT_TLS_CA", str(authority.certificate))
        assert check(server.address).returncode == 0
        monkeypatch.setenv("PLAYFUSE_CLIENT_TLS_CA", "none.pem")
        missing = check(server.address)
    assert (missing.returncode, "none.pem" in missing.stderr) == (1, True)


def check(address: str) -> subprocess.CompletedProcess[str]:
    (line,) = instructions("HEALTHCHECK")
    command = json.loads(line[line.index("[") :])
    assert command[0] == "python"
    assert Path(command[1]).name == "healthcheck.py"
    script = [sys.executable, str(DOCKER / "healthcheck.py"), address]
    return subprocess.run(script, capture_output=True, text=True, timeout=30, check=False)
