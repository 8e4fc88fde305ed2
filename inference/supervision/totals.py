"""Adds up the metrics of many workers, those of dead ones included."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Families = Sequence[Metric]
    Key = tuple[str, tuple[tuple[str, str], ...]]

_ONLY_GO_UP: Final = ("counter", "histogram", "summary")
_LEAST: Final = ("process_start_time_seconds", "playfuse_state_saved")
"""Gauges of which the smallest one stands for all: the first start, and what is so only where it is so everywhere."""
_ALIKE: Final = ("_info", "_ratio", "_percent", "_largest_difference")
"""Endings of gauges that say the same of every worker, or are no amounts: the largest one stands for all."""


def parse(text: str) -> Families:
    """Prometheus' text format."""
    return list(text_string_to_metric_families(text))


def total(living: Iterable[Families], carried: Families = ()) -> Families:
    """One family for all of one name, one sample for all of the same labels.

    Counters and histograms are added. So are gauges, which are amounts (rows that wait, calls in flight, bytes), but
    for those that are not: see `_ALIKE` and `_LEAST`.

    Args:
        living: of each worker.
        carried: of those that are gone, see `carry`.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[Key, float]] = {}
    for metric in (metric for families_of_one in (carried, *living) for metric in families_of_one):
        families.setdefault(metric.name, metric)
        combine = _combination(metric)
        sums = values.setdefault(metric.name, {})
        for sample in metric.samples:
            key = (sample.name, tuple(sample.labels.items()))
            sums[key] = combine(sums[key], sample.value) if key in sums else sample.value
    return [_family(metric, values[name]) for name, metric in families.items()]


def carry(carried: Families, gone: Families) -> Families:
    """What counted for a worker that is gone counts on: only what never goes down."""
    return total([[metric for metric in gone if metric.type in _ONLY_GO_UP]], carried)


def _combination(metric: Metric) -> Callable[[float, float], float]:
    if metric.name in _LEAST:
        return min
    if metric.type == "gauge" and metric.name.endswith(_ALIKE):
        return max
    return operator.add


def _family(like: Metric, values: dict[Key, float]) -> Metric:
    family = Metric(like.name, like.documentation, like.type)
    for (name, labels), value in values.items():
        family.add_sample(name, dict(labels), value)
    return family
