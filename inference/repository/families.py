"""What changes and trials look like to Prometheus (`exposition.Exposition`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from inference.exposition import add_histogram
from inference.repository.shadow import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from inference.repository.changes import Changes
    from inference.repository.repository import Repository
    from inference.repository.router import Routes

_LABELS: Final = ("model", "version")


def families(repository: Repository) -> Iterable[Metric]:
    """All of them, whether or not there is a trial."""
    routes = repository.router.routes
    yield from _changes(repository.changes)
    yield GaugeMetricFamily(
        "playfuse_state_saved",
        "Whether what is served is written down for the next start.",
        value=float(not repository.record.fault),
    )
    canary = GaugeMetricFamily("playfuse_canary_percent", "Share of the keys on trial.", labels=_LABELS)
    for name, route in routes.by_name.items():
        if route.canary is not None:
            canary.add_metric([name, route.canary.model.version], route.canary.split.percent)
    yield canary
    yield from _shadows(routes)


def _changes(changes: Changes) -> Iterable[Metric]:
    for name, text, counters in (
        ("swaps", "Versions that became live after the start.", changes.swaps),
        ("load_failures", "Versions that were to be served and must not be.", changes.load_failures),
    ):
        family = CounterMetricFamily(f"playfuse_{name}", text, labels=["model"])
        for model, counter in counters.items():
            family.add_metric([model], counter.value)
        yield family
    rollbacks = CounterMetricFamily(
        "playfuse_rollbacks", "Versions that were taken back, by reason.", labels=["model", "reason"]
    )
    for (model, reason), counter in changes.rollbacks.items():
        rollbacks.add_metric([model, reason], counter.value)
    yield rollbacks


def _shadows(routes: Routes) -> Iterable[Metric]:
    percent = GaugeMetricFamily("playfuse_shadow_percent", "Share of the calls that are copied.", labels=_LABELS)
    calls = CounterMetricFamily(
        "playfuse_shadow_calls", "Copies of calls, by what became of them.", labels=[*_LABELS, "outcome"]
    )
    differences = HistogramMetricFamily(
        "playfuse_shadow_difference",
        "Absolute difference between live and shadow, per player.",
        labels=[*_LABELS, "behaviour", "unit"],
    )
    largest = GaugeMetricFamily(
        "playfuse_shadow_largest_difference",
        "The largest of these since the shadow began.",
        labels=[*_LABELS, "behaviour", "unit"],
    )
    for name, route in routes.by_name.items():
        if (shadow := route.shadow) is None:
            continue
        labels = [name, shadow.model.version]
        percent.add_metric(labels, shadow.percent)
        for outcome in ("compared", "dropped", "failed"):
            calls.add_metric([*labels, outcome], getattr(shadow, outcome).value)
        for behaviour, unit, distribution, highest in shadow.differences.read():
            add_histogram(differences, [*labels, behaviour, unit], BOUNDS, distribution)
            largest.add_metric([*labels, behaviour, unit], highest)
    yield from (percent, calls, differences, largest)
