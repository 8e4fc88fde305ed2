from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.prometheus import CONFIG

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy" / "compose"


def services() -> dict[str, dict[str, Any]]:
    composed: dict[str, dict[str, Any]] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    return composed


@pytest.mark.parametrize("name", services())
def test_published_ports_are_bound_to_loopback(name: str) -> None:
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in services()[name]["ports"])


@pytest.mark.parametrize("name", services())
def test_images_are_pinned_to_a_release(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", services()[name]["image"])


@pytest.mark.parametrize("name", services())
def test_mounted_files_exist_and_are_read_only(name: str) -> None:
    for volume in services()[name].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (COMPOSE / source).exists(), source
            assert volume.endswith(":ro")


def test_server_is_built_from_the_dockerfile_and_locked_down() -> None:
    server = services()["playfuse"]
    build = server["build"]
    assert (COMPOSE / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]


def test_prometheus_scrapes_the_port_that_the_image_exposes() -> None:
    (job,) = yaml.safe_load(CONFIG.read_text())["scrape_configs"]
    ((target,),) = [config["targets"] for config in job["static_configs"]]
    host, _, port = target.partition(":")
    assert host in services()
    exposed = re.search(r"^EXPOSE \d+ (\d+)$", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE)
    assert exposed is not None
    assert port == exposed[1]


def test_grafana_reads_what_is_mounted() -> None:
    grafana = services()["grafana"]
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (COMPOSE / mounts[str(home.parent)] / home.name).is_file()
    provider = yaml.safe_load((COMPOSE / mounts["/etc/grafana/provisioning"] / "dashboards/playfuse.yaml").read_text())
    assert [one["options"]["path"] for one in provider["providers"]] == [str(home.parent)]


def test_overlay_for_an_artifact_changes_only_the_server() -> None:
    overlay = yaml.safe_load((COMPOSE / "artifact.yaml").read_text())["services"]
    assert set(overlay) == {"playfuse"}
    (volume,) = overlay["playfuse"]["volumes"]
    assert overlay["playfuse"]["command"] == [volume.split(":")[-2]]
