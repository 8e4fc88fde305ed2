"""`playfuse models` against a server in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from inference import console
from inference.cli import app
from inference.client import CallFailed
from inference.contract.errors import InvalidRequest
from tests.support.repositories import damage, served_models, write_versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    write_versions(root, "net", ["1", "2", "3"])
    write_versions(root, "other", ["1"])
    damage(root, "net", "3")
    with served_models(root) as server:
        yield server


def run(server: Server, *arguments: str) -> str:
    result = CliRunner().invoke(
        app,
        ["models", *arguments, "--admin", server.admin_address],
        catch_exceptions=False,
        env={"COLUMNS": "300"},
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def said(server: Server, *arguments: str) -> Any:
    return json.loads(run(server, *arguments, "--json"))


def test_all_that_can_be_done_is_told_as_json(server: Server) -> None:
    assert [model["name"] for model in said(server, "list")["models"]] == ["net", "other"]
    assert said(server, "load", "net", "1")["model"]["live_version"] == "1"
    assert said(server, "load", "net", "2")["model"]["previous_version"] == "1"
    assert said(server, "rollback", "net")["model"]["live_version"] == "1"
    assert said(server, "canary", "net", "2", "--percent", "5")["model"]["canary"]["percent"] == 5
    assert said(server, "promote", "net")["model"]["live_version"] == "2"
    said(server, "canary", "net", "1", "--percent", "5")
    assert "operator ended" in said(server, "canary", "net", "--stop")["model"]["last_canary"]
    assert said(server, "shadow", "net", "1", "--percent", "20")["model"]["shadow"]["compared"] == "0"
    assert "shadow" not in said(server, "shadow", "net", "--stop")["model"]
    assert said(server, "unload", "other")["model"]["live_version"] == ""
    assert said(server, "load", "other")["model"]["live_version"] == "1"


def test_people_get_a_table_and_how_trials_go(server: Server) -> None:
    run(server, "load", "net", "2")
    run(server, "canary", "net", "1", "--percent", "12.5")
    text = run(server, "shadow", "net", "1", "--percent", "20")
    assert "net 1 on trial with 12.5 % of the keys" in text
    assert "net 1 in the shadow with 20 % of the calls: 0 compared, 0 dropped, 0 failed" in text
    assert "churn_7d: mean 0, largest 0 ratio" in text
    text = run(server, "list")
    rows = {tuple(cell.strip() for cell in line.split("│")[1:4]) for line in text.splitlines() if line[:1] == "│"}
    assert {("net", "2", "live"), ("net", "1", "canary"), ("other", "1", "live")} <= rows
    assert "SHA-256" in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("load", "nothing"), "NOT_FOUND: got model 'nothing', expected one of net, other"),
        (("load", "net", "3"), r"FAILED_PRECONDITION: .*SHA-256"),
        (("promote", "other"), "FAILED_PRECONDITION: canary of other"),
    ],
)
def test_faults_are_told_and_are_an_exit_code(server: Server, arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(CallFailed, match=why):
        run(server, *arguments)
    with pytest.raises(SystemExit) as left:
        console.run(app, ["models", *arguments, "--admin", server.admin_address])
    assert left.value.code == console.USER_FAULT_EXIT_CODE


def test_where_no_server_is_the_way_out_is_told() -> None:
    result = CliRunner().invoke(app, ["models", "list", "--admin", "127.0.0.1:1"])
    assert isinstance(result.exception, CallFailed)
    assert "playfuse serve --models" in str(result.exception)


@pytest.mark.parametrize("command", ["canary", "shadow"])
@pytest.mark.parametrize(
    "options", [(), ("2",), ("--percent", "5"), ("2", "--percent", "5", "--stop"), ("2", "--stop")]
)
def test_a_trial_is_started_or_stopped_not_both(server: Server, command: str, options: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match="expected VERSION and --percent, or --stop alone"):
        run(server, command, "net", *options)


@pytest.mark.parametrize("command", ["list", "load", "unload", "promote", "rollback", "canary", "shadow"])
def test_help_teaches_with_examples(command: str) -> None:
    result = CliRunner().invoke(app, ["models", command, "--help"], env={"COLUMNS": "200"})
    assert "Examples" in result.output
    assert f"playfuse models {command}" in result.output
