"""The server's counters as Prometheus families, and the HTTP end that shows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.core import Metric

    from inference.energy.meter import Meter
    from inference.instruments import Counter, Distribution, Histogram
    from inference.metrics import CallMetrics, ModelMetrics
    from inference.models import Counted, Models, ServedModel

_USUAL_CODE: Final = "OK"
METRICS_PATH: Final = "/metrics"
_MODEL_LABELS: Final = ("model", "version")
_COUNTERS: Final[tuple[tuple[str, str, Callable[[ModelMetrics], Counter]], ...]] = (
    ("degraded", "Calls answered with the priors because the model failed.", lambda metrics: metrics.degraded),
    (
        "unanswered",
        "Calls that found no room before the engine or no answer in time.",
        lambda metrics: metrics.unanswered,
    ),
    (
        "sessions_dropped",
        "Sessions in raw histories that cleaning took away or merged.",
        lambda metrics: metrics.sessions_dropped,
    ),
)
_HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[ModelMetrics], Histogram]], ...]] = (
    ("batch_rows", "Players in one run of the engine.", lambda metrics: metrics.batch_rows),
    (
        "queue_wait_seconds",
        "From a call's arrival to the start of its run.",
        lambda metrics: metrics.queue_wait_seconds,
    ),
    ("inference_seconds", "One run of the engine, for its whole batch.", lambda metrics: metrics.inference_seconds),
)
"""Name, what it tells, and where it is, of all that is counted per version."""


class Exposition(Collector):
    """Reads everything when it is scraped and never in between.

    Args:
        metrics: counters of the calls.
        models: what is served, each with its own counters.
        meter: energy of this process.
        calls_in_flight: calls that are being handled now.
        waiting_rows: players that wait in the transport, before any model's batcher.
        more: families of other parts.
    """

    def __init__(
        self,
        metrics: CallMetrics,
        models: Models,
        meter: Meter,
        *,
        calls_in_flight: Callable[[], int],
        waiting_rows: Callable[[], int] = lambda: 0,
        more: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._metrics = metrics
        self._models = models
        self._meter = meter
        self._calls_in_flight = calls_in_flight
        self._more = more
        self._waiting_rows = waiting_rows

    def collect(self) -> Iterable[Metric]:
        """All families, in the order of `docs/operations.md`."""
        yield from self._requests()
        yield from _of_versions(self._models.counted())
        yield from _of_served(self._models.served())
        yield from self._more()
        yield from self._resources()

    def _requests(self) -> Iterable[Metric]:
        metrics = self._metrics
        seconds = HistogramMetricFamily(
            "playfuse_request_seconds",
            "From a call's arrival at the server to its reply, by method and gRPC status.",
            labels=["method", "code"],
        )
        for (method, code), histogram in metrics.request_seconds.items():
            seen = histogram.read()
            # Most methods never end in most codes: thousands of zeros would make every scrape long. That a code occurs
            # for the first time, `playfuse_rejected_total` shows, whose reasons are all there from the start.
            if code == _USUAL_CODE or any(seen.counts):
                add_histogram(seconds, (method, code), histogram.bounds, seen)
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


def _of_versions(versions: Sequence[Counted]) -> Iterable[Metric]:
    """What every version counted, also those that are served no more: a counter that vanished with its last calls
    would have counted them for nobody.
    """
    for name, text, counter in _COUNTERS:
        counters = CounterMetricFamily(f"playfuse_{name}", text, labels=_MODEL_LABELS)
        for model, version, _, metrics in versions:
            counters.add_metric([model, version], counter(metrics).value)
        yield counters
    for name, text, histogram in _HISTOGRAMS:
        histograms = HistogramMetricFamily(f"playfuse_{name}", text, labels=_MODEL_LABELS)
        for model, version, _, metrics in versions:
            add_histogram(histograms, (model, version), histogram(metrics).bounds, histogram(metrics).read())
        yield histograms
    predictions = CounterMetricFamily(
        "playfuse_predictions", "Players answered, by behaviour.", labels=[*_MODEL_LABELS, "behaviour"]
    )
    for model, version, behaviours, metrics in versions:
        for behaviour, value in zip(behaviours, metrics.predictions(), strict=True):
            predictions.add_metric([model, version, behaviour], value)
    yield predictions


def _of_served(models: Sequence[ServedModel]) -> Iterable[Metric]:
    queue = GaugeMetricFamily("playfuse_queue_rows", "Players that wait for the engine.", labels=_MODEL_LABELS)
    info = GaugeMetricFamily("playfuse_model_info", "What is served; always 1.", labels=[*_MODEL_LABELS, "synthetic"])
    for model in models:
        queue.add_metric([model.name, model.version], model.batcher.waiting_rows)
        info.add_metric([model.name, model.version, str(model.manifest.synthetic).lower()], 1)
    yield queue
    yield info


def add_histogram(
    family: HistogramMetricFamily, labels: Iterable[str], bounds: Sequence[float], held: Distribution
) -> None:
    """Add one series of a histogram."""
    buckets = []
    below = 0
    for bound, count in zip([*map(str, bounds), "+Inf"], held.counts, strict=True):
        below += count
        buckets.append((bound, below))
    family.add_metric(list(labels), buckets, held.total)


def text(exposition: Exposition) -> str:
    """What `/metrics` would say now."""
    return generate_latest(_with_process(exposition)).decode()


def _with_process(exposition: Exposition) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(exposition)
    ProcessCollector(registry=registry)
    return registry


def listen(exposition: Collector, host: str, port: int) -> WSGIServer:
    """Serve `/metrics` from a thread of its own; of one server with the usual process_* families added.

    Raises:
        PlayfuseError: the address cannot be listened on.
    """
    if isinstance(exposition, Exposition):
        registry = _with_process(exposition)
    else:
        registry = CollectorRegistry()
        registry.register(exposition)
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
