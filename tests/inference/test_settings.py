from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from inference.configuration import load
from inference.serve_command import SETTINGS
from inference.settings import CanaryBounds, Limits, ServerSettings, TlsSettings

MODELS: dict[str, type[BaseModel]] = {
    "": ServerSettings,
    "limits": Limits,
    "tls": TlsSettings,
    "canary": CanaryBounds,
}
HANDBOOK = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
API = HANDBOOK.with_name("api.md")


def test_defaults_are_loopback_and_consistent() -> None:
    settings = ServerSettings()
    assert (settings.host, settings.metrics_host) == ("127.0.0.1", "127.0.0.1")
    assert settings.limits.max_rows_per_request <= settings.limits.max_batch_rows


@pytest.mark.parametrize("larger", ["max_batch_rows", "max_queue_rows"])
def test_a_request_that_could_never_be_run_is_refused_at_start(larger: str) -> None:
    with pytest.raises(ValidationError, match=f"max_rows_per_request is 100, expected at most {larger}"):
        Limits(**{"max_rows_per_request": 100, "max_batch_rows": 200, "max_queue_rows": 200, larger: 99})


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"tls": {"certificate_file": "a", "key_file": "b"}}, r"tls\.certificate_file"),
        ({"max_connection_age_seconds": 60}, "max_connection_age_seconds"),
    ],
)
def test_the_native_transport_is_not_asked_for_what_only_grpcio_can_do(asked: dict[str, object], name: str) -> None:
    with pytest.raises(ValidationError, match=rf"transport is native, which has no {name}; expected transport grpcio"):
        ServerSettings.model_validate({**asked, "transport": "native"})
    assert ServerSettings.model_validate({**asked, "transport": "auto"}).needs_grpcio
    assert not ServerSettings().needs_grpcio


@pytest.mark.parametrize("workers", [2, "auto"])
def test_many_workers_are_not_controlled_over_the_port_that_they_share(workers: int | str) -> None:
    asked = {"models": "models", "workers": workers}
    with pytest.raises(ValidationError, match="expected one worker, or changes over the admin port only"):
        ServerSettings.model_validate({**asked, "allow_repository_control": True})
    assert ServerSettings.model_validate(asked).models is not None
    assert ServerSettings.model_validate({**asked, "workers": 1, "allow_repository_control": True})


def settings_table() -> str:
    """As the handbook has to have it."""
    flags = {key: f"`--{name.replace('_', '-')}`" for name, key in SETTINGS.items()}
    lines = ["| setting | flag | default | what for |", "|---|---|---|---|"]
    for key, value, _ in load(environment={}).effective():
        *section, name = key.split(".")
        model = MODELS[section[0] if section else ""]
        default = "" if value is None else str(value).lower()
        if name.startswith("max_") and isinstance(value, int):
            default = f"{value:,}"
        lines.append(f"| `{key}` | {flags.get(key, '')} | {default} | {model.model_fields[name].description} |")
    return "\n".join(lines)


def test_the_handbook_lists_every_setting_with_its_flag_and_its_default() -> None:
    table = settings_table()
    assert table in HANDBOOK.read_text(), f"docs/operations.md needs this table:\n{table}"


def test_the_api_page_tells_the_limits_that_callers_meet() -> None:
    limits = Limits()
    told = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", API.read_text(), flags=re.MULTILINE))
    assert told["players per request (`DescribeModel.max_rows_per_request`)"] == f"{limits.max_rows_per_request:,}"
    assert told["bytes per request"] == f"{limits.max_message_bytes >> 20} MiB"
    assert told["sessions per request, all players together"] == f"{limits.max_sessions_per_request:,}"
    assert told["bytes of `request_id`"] == f"{limits.max_request_id_bytes:,}"
    assert told["players that wait for the engine"] == f"{limits.max_queue_rows:,}"
    assert told["calls that wait for a thread"] == f"{limits.max_waiting_requests:,}"
    waiting = "calls under way on one connection; callers hold back what is more"
    assert told[waiting] == f"{limits.max_calls_per_connection:,}"
    assert told["bytes of metadata (all headers)"] == f"{limits.max_metadata_bytes:,}"
    assert told["time a call may wait if it has no deadline"] == f"{limits.max_wait_seconds:g} s"


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="prot"):
        ServerSettings(prot=1)  # type: ignore[call-arg]
