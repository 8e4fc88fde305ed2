"""What a server's /metrics said at one moment, and what happened between two of them."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from inference.scraping import scrape

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Scrape:
    """Samples by name and labels.

    Attributes:
        samples: (name, sorted label pairs) → value.
    """

    samples: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]

    @classmethod
    def parse(cls, text: str) -> Scrape:
        """Prometheus' text format."""
        return cls(
            {
                (sample.name, tuple(sorted(sample.labels.items()))): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
        )

    @classmethod
    def read(cls, url: str, *, timeout_seconds: float = 5.0) -> Scrape:
        """Scrape a server on this machine.

        Raises:
            OSError: nothing answers there.
        """
        return cls.parse(scrape(url, timeout_seconds=timeout_seconds))

    def since(self, earlier: Scrape) -> Scrape:
        """What the counters counted in between."""
        return Scrape({key: value - earlier.samples.get(key, 0.0) for key, value in self.samples.items()})

    def total(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name that carry those labels."""
        return sum(self.by("", name, **labels).values())

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """Value of `label` → sum of the samples of that name that carry `labels`."""
        sums: defaultdict[str, float] = defaultdict(float)
        for (sample, pairs), value in self.samples.items():
            own = dict(pairs)
            if sample == name and labels.items() <= own.items():
                sums[own.get(label, "")] += value
        return dict(sums)

    def quantile(self, quantile: float, histogram: str, **labels: str) -> float:
        """A quantile of a classic histogram as Prometheus' `histogram_quantile` gives it; NaN without observations.

        Linear within a bucket; the upper bound of the last finite bucket where the quantile lies above it.
        """
        buckets = sorted(
            (float(bound), count) for bound, count in self.by("le", f"{histogram}_bucket", **labels).items()
        )
        if not buckets or buckets[-1][1] <= 0:
            return math.nan
        rank = quantile * buckets[-1][1]
        lower_bound, below = 0.0, 0.0
        for bound, count in buckets:
            if count >= rank and count > below:
                if math.isinf(bound):
                    return lower_bound
                return lower_bound + (bound - lower_bound) * (rank - below) / (count - below)
            lower_bound, below = bound, count
        return lower_bound
