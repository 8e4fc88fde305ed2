"""The server's counters as Prometheus families, and the HTTP end that shows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.core import Metric

    from inference.energy.meter import Meter
    from inference.instruments import Histogram
    from inference.metrics import CallMetrics
    from inference.models import Models, ServedModel

METRICS_PATH: Final = "/metrics"


class Exposition(Collector):
    """Reads everything when it is scraped and never in between.

    Args:
        metrics: counters of the calls.
        models: what is served, each with its own counters.
        meter: energy of this process.
        calls_in_flight: calls that are being handled now.
        waiting_rows: players that wait in the transport, before any model's batcher.
    """

    def __init__(
        self,
        metrics: CallMetrics,
        models: Models,
        meter: Meter,
        *,
        calls_in_flight: Callable[[], int],
        waiting_rows: Callable[[], int] = lambda: 0,
    ) -> None:
        self._metrics = metrics
        self._models = models
        self._meter = meter
        self._calls_in_flight = calls_in_flight
        self._waiting_rows = waiting_rows

    def collect(self) -> Iterable[Metric]:
        """All families, in the order of `docs/operations.md`."""
        yield from self._requests()
        for model in self._models.served():
            yield from self._of_model(model)
        yield from self._resources()

    def _requests(self) -> Iterable[Metric]:
        metrics = self._metrics
        seconds = HistogramMetricFamily(
            "playfuse_request_seconds",
            "From a call's arrival at the server to its reply, by method and gRPC status.",
            labels=["method", "code"],
        )
        for labels, histogram in metrics.request_seconds.items():
            _add(seconds, labels, histogram)
        yield seconds
        yield GaugeMetricFamily(
            "playfuse_requests_in_flight", "Calls being handled now.", value=self._calls_in_flight()
        )
        yield GaugeMetricFamily(
            "playfuse_transport_queue_rows",
            "Players that wait in the native transport for its next runs.",
            value=self._waiting_rows(),
        )
        rejected = CounterMetricFamily(
            "playfuse_rejected", "Calls that were not computed, by reason.", labels=["reason"]
        )
        for reason, counter in metrics.rejected.items():
            rejected.add_metric([reason], counter.value)
        yield rejected

    def _of_model(self, model: ServedModel) -> Iterable[Metric]:
        metrics, manifest = model.metrics, model.manifest
        yield CounterMetricFamily(
            "playfuse_degraded", "Calls answered with the priors because the model failed.", metrics.degraded.value
        )
        yield CounterMetricFamily(
            "playfuse_sessions_dropped",
            "Sessions in raw histories that cleaning took away or merged.",
            metrics.sessions_dropped.value,
        )
        for name, text, histogram in (
            ("batch_rows", "Players in one run of the engine.", metrics.batch_rows),
            ("queue_wait_seconds", "From a call's arrival to the start of its run.", metrics.queue_wait_seconds),
            ("inference_seconds", "One run of the engine, for its whole batch.", metrics.inference_seconds),
        ):
            family = HistogramMetricFamily(f"playfuse_{name}", text, labels=[])
            _add(family, (), histogram)
            yield family
        yield GaugeMetricFamily(
            "playfuse_queue_rows", "Players that wait for the engine.", value=model.batcher.waiting_rows
        )
        predictions = CounterMetricFamily(
            "playfuse_predictions", "Players answered, by behaviour.", labels=["behaviour"]
        )
        for name, value in zip(manifest.behaviour_names, metrics.predictions(), strict=True):
            predictions.add_metric([name], value)
        yield predictions
        info = GaugeMetricFamily(
            "playfuse_model_info", "The model that is served; always 1.", labels=["name", "version", "synthetic"]
        )
        info.add_metric([manifest.name, manifest.version, str(manifest.synthetic).lower()], 1)
        yield info

    def _resources(self) -> Iterable[Metric]:
        energy = CounterMetricFamily(
            "playfuse_energy_joules",
            "Energy of this process: measured (rapl) or estimated from its CPU time (estimate).",
            labels=["source", "domain"],
        )
        for domain, joules in self._meter.read().items():
            energy.add_metric([self._meter.source, domain], joules)
        yield energy
        yield CounterMetricFamily(
            "playfuse_cpu_seconds", "CPU time of this process, user and system.", time.process_time()
        )


def _add(family: HistogramMetricFamily, labels: Iterable[str], histogram: Histogram) -> None:
    counts, total = histogram.read()
    buckets = []
    below = 0
    for bound, count in zip([*map(str, histogram.bounds), "+Inf"], counts, strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric(list(labels), buckets, total)


def listen(exposition: Exposition, host: str, port: int) -> WSGIServer:
    """Serve `/metrics` from a thread of its own, with the usual process_* families added.

    Raises:
        PlayfuseError: the address cannot be listened on.
    """
    registry = CollectorRegistry()
    registry.register(exposition)
    ProcessCollector(registry=registry)
    try:
        server, _ = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise PlayfuseError(
            f"metrics address {host}:{port}",
            got=error.strerror or str(error),
            expected="a free port on an address of this machine",
            fix="Name another with --metrics-port; 0 takes any free one.",
        ) from error
    return server
