from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inference.configuration import DEFAULT, FOLLOWS, Configuration, Effective, Flag, keys, load
from inference.contract.errors import PlayfuseError
from inference.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def written(folder: Path, text: str) -> Path:
    path = folder / "server.toml"
    path.write_text(text)
    return path


def of(configuration: Configuration, key: str) -> Effective:
    (found,) = [one for one in configuration.effective() if one.key == key]
    return found


def test_without_any_source_everything_is_a_default() -> None:
    configuration = load(environment={})
    assert configuration.settings == ServerSettings()
    assert {one.source for one in configuration.effective()} == {DEFAULT}
    assert [one.key for one in configuration.effective()] == keys()


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "port = 1\nthreads = 2\ngrace_seconds = 3.5\n[limits]\nmax_batch_rows = 5000\n")
    environment = {"PLAYFUSE_PORT": "4", "PLAYFUSE_THREADS": "5", "PLAYFUSE_LIMITS__MAX_WAITING_REQUESTS": "6"}
    configuration = load(file, {"port": Flag("--port", 7)}, environment)
    assert of(configuration, "port") == ("port", 7, "flag --port")
    assert of(configuration, "threads") == ("threads", 5, "environment PLAYFUSE_THREADS")
    assert of(configuration, "grace_seconds") == ("grace_seconds", 3.5, f"file {file}")
    assert of(configuration, "limits.max_batch_rows").value == 5_000
    assert of(configuration, "limits.max_waiting_requests").value == 6
    assert of(configuration, "host").source == DEFAULT


def test_every_setting_can_be_set_by_the_environment_and_by_the_file(tmp_path: Path) -> None:
    values = {
        "workers": ("auto", "auto"),
        "watts_per_core": ("2.5", 2.5),
        "insecure_public": ("true", True),
        "tokens_file": ("tokens.txt", "tokens.txt"),
        "limits.max_metadata_bytes": ("4096", 4_096),
    }
    environment = {f"PLAYFUSE_{key.replace('.', '__').upper()}": text for key, (text, _) in values.items()}
    lines = [f"{key} = {value!r}".replace("True", "true") for key, (_, value) in values.items()]
    for configuration in (load(environment=environment), load(written(tmp_path, "\n".join(lines)), environment={})):
        for key, (_, value) in values.items():
            assert of(configuration, key).value == value


def test_what_larger_requests_need_follows() -> None:
    configuration = load(environment={"PLAYFUSE_LIMITS__MAX_ROWS_PER_REQUEST": "4000"})
    assert of(configuration, "limits.max_batch_rows") == ("limits.max_batch_rows", 4_000, FOLLOWS)
    assert of(configuration, "limits.max_queue_rows") == ("limits.max_queue_rows", 32_768, DEFAULT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", r"settings file .*server\.toml: got the unknown setting prot, .* Did you mean port\?"),
        ("max_batch_rows = 1", r"unknown setting max_batch_rows, .* Did you mean limits\.max_batch_rows\?"),
        ("[limits]\nmax_rows = 1", r"unknown setting limits\.max_rows, .* Did you mean limits\.max_"),
        ("[port]\na = 1", r"unknown setting port\.a"),
        ("limits = 3", r"unknown setting limits"),
        ("port = 'x'", r"file .*server\.toml: port: got 'x', expected a valid integer"),
        ("port = ", r"settings file .*server\.toml: got Invalid value .*, expected TOML"),
        ("port = {}", r"port: got {}, expected a valid integer"),
        ("\x00", r"expected TOML"),
        ("grace_seconds = 0", r"grace_seconds: got 0, expected greater than 0"),
        ("workers = 'many'", r"workers: got 'many'"),
        (
            "[tls]\nkey_file = 'a'",
            r"tls\.key_file from file .*: got certificate_file is not set, expected a certificate",
        ),
        ("[tls]\nclient_ca_file = 'a'", r"got client_ca_file is set without certificate_file and key_file"),
    ],
)
def test_a_fault_in_the_file_names_the_file_and_the_key(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PlayfuseError, match=said):
        load(written(tmp_path, text), environment={})


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PLAYFUSE_PRT": "1"}, r"environment: got the unknown setting PLAYFUSE_PRT, .* Did you mean PLAYFUSE_PORT\?"),
        ({"PLAYFUSE_LIMITS__MAX_ROWS": "1"}, r"Did you mean PLAYFUSE_LIMITS__MAX_"),
        ({"PLAYFUSE_LIMITS": '{"max_batch_rows": 1}'}, r"unknown setting PLAYFUSE_LIMITS"),
        ({"PLAYFUSE_PORT": "x"}, r"environment PLAYFUSE_PORT: port: got 'x', expected a valid integer"),
        (
            {"PLAYFUSE_LIMITS__MAX_ROWS_PER_REQUEST": "9", "PLAYFUSE_LIMITS__MAX_BATCH_ROWS": "8"},
            r"limits\.max_batch_rows from environment PLAYFUSE_LIMITS__MAX_BATCH_ROWS.*got max_rows_per_request is 9, "
            r"expected at most max_batch_rows \(8\)",
        ),
    ],
)
def test_a_fault_in_the_environment_names_the_variable(environment: dict[str, str], said: str) -> None:
    with pytest.raises(PlayfuseError, match=said):
        load(environment=environment)


def test_a_fault_in_a_flag_names_the_flag() -> None:
    with pytest.raises(PlayfuseError, match="flag --port: port: got 70000, expected less than or equal to 65535"):
        load(flags={"port": Flag("--port", 70_000)}, environment={})


@pytest.mark.parametrize(
    "environment",
    [
        {"PLAYFUSE_DATA": "/data", "PLAYFUSE_CONFIG": "x", "PLAYFUSE_ARTIFACT": "y", "PLAYFUSE_CLIENT_TOKEN": "z"},
        {"PLAYFUSE_PORT": ""},
        # What Kubernetes sets in every container of a namespace with services named playfuse and playfuse-eu.
        {
            "PLAYFUSE_SERVICE_HOST": "10.0.0.11",
            "PLAYFUSE_SERVICE_PORT": "50051",
            "PLAYFUSE_SERVICE_PORT_GRPC": "50051",
            "PLAYFUSE_PORT": "tcp://10.0.0.11:50051",
            "PLAYFUSE_PORT_50051_TCP": "tcp://10.0.0.11:50051",
            "PLAYFUSE_PORT_50051_TCP_PROTO": "tcp",
            "PLAYFUSE_PORT_50051_TCP_PORT": "50051",
            "PLAYFUSE_PORT_50051_TCP_ADDR": "10.0.0.11",
            "PLAYFUSE_EU_SERVICE_HOST": "10.0.0.12",
            "PLAYFUSE_EU_PORT": "tcp://10.0.0.12:50051",
            "PLAYFUSE_METRICS_PORT": "tcp://10.0.0.13:9464",
        },
    ],
)
def test_what_is_somebody_elses_is_left_alone(environment: Mapping[str, str]) -> None:
    assert load(environment=environment).settings == ServerSettings()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlayfuseError, match=r"settings file .*none\.toml: got No such file"):
        load(tmp_path / "none.toml", environment={})


def test_a_key_in_the_wrong_place_is_not_repeated() -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg"
    with pytest.raises(PlayfuseError) as refused:
        load(environment={"PLAYFUSE_PORT": secret})
    assert "MIIE" not in str(refused.value)
    assert refused.value.got == "the text of a PEM file"


@pytest.mark.parametrize(
    "settings", [{"tls": {"certificate_file": "a", "key_file": "b"}}, {"max_connection_age_seconds": 5}]
)
def test_what_only_grpcio_can_do_is_known(settings: dict[str, object]) -> None:
    assert ServerSettings.model_validate(settings).needs_grpcio
    assert not ServerSettings().needs_grpcio
