from __future__ import annotations

from importlib.metadata import version

import pytest
import typer.core
import typer.main
from typer.testing import CliRunner

from inference.contract.errors import PlayfuseError
from playfuse.cli import build

SERVING = ("serve", "predict", "inspect", "compare", "models", "token")
BUILDING = ("data", "statistics", "train", "fuse", "update", "report", "demo")


def run(*arguments: str, missing: list[str] | None = None) -> str:
    result = CliRunner().invoke(build(missing or []), arguments, catch_exceptions=False, env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("missing", [[], ["torch"]])
def test_both_halves_are_there_whatever_is_installed(missing: list[str]) -> None:
    commands = typer.main.get_command(build(missing))
    assert isinstance(commands, typer.core.TyperGroup)
    assert set(commands.commands) == {*SERVING, *BUILDING}


def test_help_names_both_halves() -> None:
    text = run("--help")
    assert all(f" {command} " in text for command in SERVING + BUILDING)
    assert "playfuse serve --demo" in text


def test_the_version_is_the_distributions() -> None:
    assert run("--version").strip() == f"playfuse {version('playfuse')}"


@pytest.mark.parametrize("command", BUILDING)
def test_without_the_build_half_its_commands_say_how_to_get_it(command: str) -> None:
    assert "pip install 'playfuse[fusion]'" in run("--help", missing=["torch"])
    with pytest.raises(PlayfuseError, match=r"without torch.*pip install 'playfuse\[fusion\]'"):
        run(command, "anything", "--option", "1", missing=["torch"])
