from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from inference.cli import app
from inference.contract.errors import PlayfuseError
from inference.security.tokens import Role, read

if TYPE_CHECKING:
    from pathlib import Path


def new(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["token", "new", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_token_is_shown_and_its_line_is_stored(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# ours")
    said = json.loads(new("--role", "admin", "--name", "ops team", "--file", str(file), "--json"))
    shown = new("--role", "predict", "--file", str(file))
    words = dict(line.split(maxsplit=1) for line in shown.splitlines())
    tokens = read(file)
    assert tokens.role_of([("authorization", f"Bearer {said['token']}")]) is Role.ADMIN
    assert tokens.role_of([("authorization", f"Bearer {words['token']}")]) is Role.PREDICT
    assert file.read_text() == f"# ours\n{said['line']}\n{words['line']}\n"
    assert said["token"] not in file.read_text()


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    new("--role", "predict", "--file", str(tmp_path / "tokens"))
    assert stat.S_IMODE((tmp_path / "tokens").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlayfuseError, match="expected a writable file"):
        new("--role", "predict", "--file", str(tmp_path / "none" / "tokens"))
