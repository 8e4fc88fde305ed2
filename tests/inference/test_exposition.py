from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inference import exposition
from inference.contract.errors import PlayfuseError
from inference.contract.features import FEATURE_NAMES
from inference.core import Request, Response
from inference.energy.estimate import EstimateMeter
from inference.engine import Engine
from inference.exposition import Exposition
from inference.metrics import CallMetrics
from inference.models import OneModel, ServedModel
from inference.repository.families import families
from inference.scraping import scrape
from inference.settings import Limits
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest
from tests.support.repositories import opened, write_versions

HANDBOOK = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def model() -> ServedModel:
    graph = build_graph(4, BEHAVIOURS)
    return ServedModel(make_manifest(graph, FEATURE_NAMES[:4], BEHAVIOURS), Engine.from_bytes(graph), Limits())


def calls() -> CallMetrics:
    return CallMetrics(["Predict", "DescribeModel"])


def exposed(served: ServedModel | None = None, metrics: CallMetrics | None = None) -> Exposition:
    meter = EstimateMeter(10.0, iter((1.0, 3.0, 5.0)).__next__)
    return Exposition(metrics or calls(), OneModel(served or model()), meter, calls_in_flight=lambda: 3)


def samples(exposition: Exposition) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in exposition.collect()
        for sample in family.samples
    }


def test_what_was_counted_is_what_is_shown() -> None:
    served, metrics = model(), calls()
    served.metrics.batch([Response(Request(b"", 5, columns=(0,)), b"", degraded=True)], [0.004], 0.0006)
    metrics.request_seconds["Predict", "OK"].observe(0.0021)
    metrics.rejected["queue_full"].add()
    values = samples(exposed(served, metrics))

    def value(sample: str, /, **labels: str) -> float:
        return values[sample, frozenset(labels.items())]

    one = {"model": "testnet", "version": "1"}
    ok = {"method": "Predict", "code": "OK"}
    assert value("playfuse_request_seconds_bucket", **ok, le="0.002") == 0
    assert value("playfuse_request_seconds_bucket", **ok, le="0.003") == 1
    assert value("playfuse_request_seconds_bucket", **ok, le="+Inf") == 1
    assert value("playfuse_request_seconds_sum", **ok) == 0.0021
    assert value("playfuse_requests_in_flight") == 3
    assert value("playfuse_rejected_total", reason="queue_full") == 1
    assert value("playfuse_rejected_total", reason="deadline") == 0
    assert value("playfuse_degraded_total", **one) == 1
    assert value("playfuse_batch_rows_sum", **one) == 5
    assert value("playfuse_queue_wait_seconds_sum", **one) == 0.004
    assert value("playfuse_inference_seconds_bucket", **one, le="0.0005") == 0
    assert value("playfuse_inference_seconds_bucket", **one, le="0.00075") == 1
    assert value("playfuse_queue_rows", **one) == 0
    assert value("playfuse_predictions_total", **one, behaviour=BEHAVIOURS[0].name) == 5
    assert value("playfuse_predictions_total", **one, behaviour=BEHAVIOURS[1].name) == 0
    assert value("playfuse_model_info", **one, synthetic="true") == 1
    assert value("playfuse_energy_joules_total", source="estimate", domain="cpu") == 20.0
    assert value("playfuse_cpu_seconds_total") > 0


def test_the_handbook_lists_exactly_what_is_shown(tmp_path: Path) -> None:
    listed = re.findall(r"^\| `(playfuse_\w+)` \| (\w+) \|([^|]*)\|", HANDBOOK.read_text(), re.MULTILINE)
    write_versions(tmp_path, "testnet", ["1", "2", "3"])
    with opened(tmp_path) as repository:
        repository.trials.start_canary("testnet", "1", 5)
        repository.trials.start_shadow("testnet", "2", 5)
        meter = EstimateMeter(10.0, iter((1.0, 3.0)).__next__)
        everything = Exposition(
            calls(), repository.router, meter, calls_in_flight=lambda: 3, more=lambda: families(repository)
        )
        shown = {
            (
                family.name + "_total" * (family.type == "counter"),
                family.type,
                ", ".join(f"`{label}`" for sample in family.samples[:1] for label in sample.labels if label != "le"),
            )
            for family in everything.collect()
        }
    assert {(name, kind, labels.strip()) for name, kind, labels in listed} == shown


def test_every_family_is_there_once_however_many_models(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_versions(tmp_path, name, ["1"])
    with opened(tmp_path) as repository:
        meter = EstimateMeter(10.0, iter((1.0, 3.0)).__next__)
        shown = list(Exposition(calls(), repository.router, meter, calls_in_flight=lambda: 0).collect())
    names = [family.name for family in shown]
    assert len(set(names)) == len(names)
    (predictions,) = [family for family in shown if family.name == "playfuse_predictions"]
    assert {sample.labels["model"] for sample in predictions.samples} == {"one", "other"}


def test_buckets_reach_from_a_quarter_millisecond_to_two_and_a_half_seconds() -> None:
    bounds = {labels for name, labels in samples(exposed()) if name == "playfuse_inference_seconds_bucket"}
    limits = sorted(float(dict(labels)["le"]) for labels in bounds)
    assert (limits[0], limits[-2], limits[-1]) == (0.00025, 2.5, float("inf"))


def test_http_shows_it_with_the_process(request: pytest.FixtureRequest) -> None:
    server = exposition.listen(exposed(), "127.0.0.1", 0)
    request.addfinalizer(server.server_close)
    request.addfinalizer(server.shutdown)
    page = scrape(f"http://127.0.0.1:{server.server_port}/metrics", timeout_seconds=30)
    families = {family.name for family in text_string_to_metric_families(page)}
    assert {"playfuse_request_seconds", "playfuse_energy_joules", "process_resident_memory_bytes"} <= families


def test_a_taken_port_is_told_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PlayfuseError, match=rf"metrics address 127.0.0.1:{port}: got .* Name another with --metrics-port"
        ):
            exposition.listen(exposed(), "127.0.0.1", port)
