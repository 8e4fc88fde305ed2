"""The Grafana dashboard against its source, a real server's metrics and a real Prometheus."""

from __future__ import annotations

import itertools
import json
import re
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.grafana.build_dashboard import DASHBOARD, ROWS, dashboard
from inference import scraping
from inference.admin_client import AdminClient
from inference.client import Client, History
from inference.contract.errors import PlayfuseError
from tests.support.prometheus import running_prometheus
from tests.support.servers import running_models, scrape
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playfuse.server_process import ServerProcess

PROVISIONING = DASHBOARD.parent.parent / "provisioning"
OPERATIONS = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
METRIC = re.compile(r"\b(?:playfuse|process)_[a-z_]+")


def targets() -> list[tuple[str, str, str]]:
    """Panel, legend and expression of every query in the committed file."""
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [
        (panel["title"], target["legendFormat"], target["expr"])
        for panel in panels
        for target in panel.get("targets", [])
    ]


def test_committed_dashboard_is_current() -> None:
    assert json.loads(DASHBOARD.read_text()) == dashboard(), "run: python -m deploy.grafana.build_dashboard"


def test_panels_fill_their_rows_without_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len(ROWS) + sum(map(len, ROWS.values()))
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


def test_provisioned_datasource_is_the_one_the_panels_use() -> None:
    (datasource,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"]
    used = {target["datasource"]["uid"] for panel in dashboard()["panels"] for target in panel.get("targets", [])}
    assert used == {datasource["uid"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Several models, one of them with versions on trial and in the shadow: only so has every panel a figure."""
    folder = tmp_path_factory.mktemp("server")
    with running_models(folder, {"testnet": ["1", "2", "3"], "other": ["1"]}, "--max-rows", "4") as running:
        with AdminClient(running.admin_address) as admin:
            admin.load("testnet", "1")
            admin.start_canary("testnet", "2", 50)
            admin.start_shadow("testnet", "3", 100)
        yield running


def some_traffic(server: ServerProcess) -> None:
    """Answers, an invalid request, and a session that cleaning drops."""
    with Client(server.address, timeout_seconds=10) as client:
        client.predict(histories=[History([1_750_000_000, 1_750_100_000], [3_600, 0])], model_name="testnet")
        with pytest.raises(PlayfuseError):
            client.predict(rows=[[0.0]], model_name="testnet")


@pytest.mark.process
@pytest.mark.xdist_group("deploy")
def test_every_metric_of_a_panel_is_a_metric_of_the_server(server: ServerProcess) -> None:
    named = {name for _, _, expression in targets() for name in METRIC.findall(expression)}
    offered = {sample.name for family in text_string_to_metric_families(scrape(server)) for sample in family.samples}
    assert named <= offered


@pytest.mark.process
@pytest.mark.xdist_group("deploy")
def test_every_metric_of_the_server_is_on_a_panel(server: ServerProcess) -> None:
    shown = " ".join(expression for _, _, expression in targets())
    families = {family.name for family in text_string_to_metric_families(scrape(server))}
    assert not {name for name in families if name.startswith("playfuse_") and name not in shown}


@pytest.mark.process
@pytest.mark.xdist_group("deploy")
def test_a_real_prometheus_evaluates_every_panel_and_what_is_documented(server: ServerProcess, tmp_path: Path) -> None:
    documented = re.findall(r"^```promql\n(.*?)^```$", OPERATIONS.read_text(), re.DOTALL | re.MULTILINE)
    assert documented
    with running_prometheus(tmp_path, server) as url:
        waiting = {(title, legend): expression for title, legend, expression in targets()}
        waiting |= {(OPERATIONS.name, expression): expression for expression in documented}

        def all_have_answers() -> bool:
            some_traffic(server)
            for panel, expression in list(waiting.items()):
                if evaluate(url, expression):
                    del waiting[panel]
            return not waiting

        assert until(all_have_answers, seconds=60), f"no answer: {waiting}"


def evaluate(url: str, expression: str) -> list[dict[str, Any]]:
    """Series with a number now; a query that Prometheus refuses raises."""
    query = expression.replace("$__rate_interval", "10s").replace("$instance", ".*")
    asked = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    answer = json.loads(scraping.scrape(asked, timeout_seconds=10))
    assert answer["status"] == "success", answer
    series: list[dict[str, Any]] = answer["data"]["result"]
    return [one for one in series if one["value"][1] != "NaN"]
