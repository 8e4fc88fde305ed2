from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from inference.cli import app
from inference.client import CallFailed
from inference.configuration import keys
from inference.contract import artifact as artifacts
from inference.contract.errors import InvalidRequest, PlayfuseError
from inference.contract.features import FEATURE_NAMES
from inference.core import Core, Priority, Request
from inference.security.tokens import Role, mint
from inference.serve_command import SETTINGS, demo_artifact
from tests.support.artifacts import write_artifact
from tests.support.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from inference.batching import Answer
    from inference.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("cli") / "a") as server:
        yield server


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def asked(server: Server, *arguments: str) -> str:
    return run("predict", "--target", server.address, "--timeout-seconds", "30", *arguments)


def test_the_three_forms_give_answers(server: Server, tmp_path: Path) -> None:
    header, row = ",".join(FEATURE_NAMES), ",".join("1" for _ in FEATURE_NAMES)
    (tmp_path / "lobby.csv").write_text(f"{header}\n{row}\n{row}\n")
    (tmp_path / "lobby.json").write_text(json.dumps([[1] * len(FEATURE_NAMES)] * 2))
    by_name = json.loads(asked(server, "--rows", str(tmp_path / "lobby.csv"), "--json"))
    by_position = json.loads(asked(server, "--rows", str(tmp_path / "lobby.json"), "--json"))
    assert by_name["values"] == by_position["values"]
    assert len(by_name["values"]) == 2
    one = json.loads(asked(server, "--feature", "sessions_7d=3", "--behaviour", "churn_7d", "--json"))
    assert (one["behaviours"], one["degraded"]) == (["churn_7d"], False)
    past = json.loads(asked(server, "--history", "2026-01-05T18:00,3600;2026-01-05T18:00,3600", "--json"))
    assert past["dropped_sessions"] == 1


def test_people_get_a_table(server: Server) -> None:
    text = asked(server, "--history", "2026-01-05T18:00,3600;2026-01-06T20:30,1800")
    assert "testnet 1" in text
    assert "next_session_long" in text


def test_a_lobby_is_a_table_with_a_row_per_player(server: Server, tmp_path: Path) -> None:
    (tmp_path / "lobby.csv").write_text("sessions_7d\n" + "2\n" * 7)
    text = asked(server, "--rows", str(tmp_path / "lobby.csv"), "--behaviour", "churn_7d")
    assert [line.split()[1] for line in text.splitlines() if line.startswith("│")] == [str(i) for i in range(7)]


@pytest.mark.parametrize("arguments", [(), ("--feature", "a=1", "--history", "1,60")])
def test_exactly_one_form_is_asked_for(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest, match="expected one of --rows, --feature, --history"):
        run("predict", *arguments)


@pytest.mark.parametrize("arguments", [(), ("somewhere", "--demo")])
def test_serve_takes_an_artifact_or_the_demo(arguments: tuple[str, ...]) -> None:
    with pytest.raises(PlayfuseError, match="expected one of them"):
        run("serve", *arguments)


def test_settings_are_shown_with_their_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server.toml").write_text("port = 1\nthreads = 3\n")
    monkeypatch.setenv("PLAYFUSE_CONFIG", str(tmp_path / "server.toml"))
    monkeypatch.setenv("PLAYFUSE_GRACE_SECONDS", "2.5")
    said = json.loads(run("serve", "--show-config", "--json", "--port", "7", "--insecure-public", "--workers", "auto"))
    assert said["port"] == {"value": 7, "source": "flag --port"}
    assert said["threads"] == {"value": 3, "source": f"file {tmp_path / 'server.toml'}"}
    assert said["grace_seconds"] == {"value": 2.5, "source": "environment PLAYFUSE_GRACE_SECONDS"}
    assert said["insecure_public"] == {"value": True, "source": "flag --insecure-public"}
    assert said["workers"]["value"] == "auto"
    assert said["drain_seconds"] == {"value": 0.0, "source": "default"}
    table = run("serve", "--show-config")
    assert "PLAYFUSE_GRACE_SECONDS" in table.replace("\n", "")
    assert "limits.max_rows_per_request" in table


def test_every_setting_of_the_command_is_one_of_the_model() -> None:
    assert set(SETTINGS.values()) <= set(keys())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "an address beyond loopback, without TLS"),
        (("--metrics-host", "0.0.0.0"), "this port has no TLS"),
        (("--tls-key", "a"), "certificate_file is not set"),
        (("--workers", "0"), "flag --workers: workers"),
    ],
)
def test_serve_refuses_what_is_not_safe_or_not_there(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(PlayfuseError) as refused:
        run("serve", "--demo", "--port", "0", "--metrics-port", "0", *arguments)
    assert said in str(refused.value)


def test_a_token_comes_from_the_environment_or_the_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, token = mint(Role.PREDICT)
    (tmp_path / "tokens").write_text(token.line)
    with served(tmp_path / "a", tokens_file=tmp_path / "tokens") as server:
        assert asked(server, "--feature", "sessions_7d=3", "--token", secret)
        with pytest.raises(CallFailed, match="UNAUTHENTICATED"):
            asked(server, "--feature", "sessions_7d=3")
        monkeypatch.setenv("PLAYFUSE_CLIENT_TOKEN", secret)
        assert asked(server, "--feature", "sessions_7d=3")


@pytest.mark.parametrize("priority", ["live", "prefetch", "analytics"])
def test_predict_says_what_the_answer_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, priority: str) -> None:
    seen: list[Priority] = []
    predict = Core.predict

    def watched(core: Core, requests: Sequence[Request]) -> list[Answer]:
        seen.extend(request.priority for request in requests)
        return predict(core, requests)

    monkeypatch.setattr(Core, "predict", watched)
    with served(tmp_path / "a") as server:
        assert asked(server, "--feature", "sessions_7d=3", "--priority", priority)
    assert [one.name.partition("_")[0].lower() for one in seen] == [priority]


@pytest.mark.parametrize("option", ["host", "metrics-host"])
def test_serve_takes_no_empty_address(option: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--demo", f"--{option}", ""], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert f"'--{option}': an empty address" in result.output


def test_inspect_shows_tables_and_json(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    shown = run("inspect", str(tmp_path / "a"))
    assert "quality on test players" in shown
    assert "stages (change against the best teachers)" in shown
    assert json.loads(run("inspect", str(tmp_path / "a"), "--json"))["verified"] is True


def test_inspect_verifies(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    model = tmp_path / "a" / artifacts.MODEL_FILE
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(PlayfuseError, match=r"model\.onnx: got SHA-256"):
        run("inspect", str(tmp_path / "a"))


def test_compare_shows_tables_and_json(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    write_artifact(tmp_path / "b", version="2")
    shown = run("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert "B - A" in shown
    assert "Their recipes are the same." in shown
    said = json.loads(run("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"))
    assert [said["artifacts"][side]["version"] for side in "ab"] == ["1", "2"]


def test_compare_verifies_both(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    with pytest.raises(PlayfuseError, match="no such folder"):
        run("compare", str(tmp_path / "a"), str(tmp_path / "b"))


def test_the_demo_is_part_of_the_package() -> None:
    assert demo_artifact().name == "demo"
    assert demo_artifact().parent.name == "inference"


@pytest.mark.parametrize("command", ["serve", "predict", "inspect", "compare"])
def test_help_teaches_with_examples(command: str) -> None:
    text = run(command, "--help")
    assert "Examples" in text
    assert f"playfuse {command}" in text
