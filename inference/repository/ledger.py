"""Counters outlive the versions that they belong to, so that for Prometheus they never fall.

A version that is served again goes on counting where it stopped. Of versions that are served no more the last few stay:
their last calls are still scraped, and the number of series stays bounded. A series that has gone and comes back begins
at 0, which Prometheus takes for a restart.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from inference.metrics import ModelMetrics
from inference.models import Counted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inference.contract.artifact import Manifest

KEPT_RETIRED: Final = 4
"""Versions per model that are served no more and still shown."""


class Ledger:
    """The counters of all versions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_version: dict[tuple[str, str], Counted] = {}

    def metrics_of(self, manifest: Manifest) -> ModelMetrics:
        """The counters of a version that is about to be served."""
        key = manifest.name, manifest.version
        with self._lock:
            known = self._by_version.pop(key, None)
            if known is None or known.behaviours != manifest.behaviour_names:
                known = Counted(*key, manifest.behaviour_names, ModelMetrics(len(manifest.behaviours)))
            self._by_version[key] = known  # the last in line is the last to go
            return known.metrics

    def retire(self, served: Collection[tuple[str, str]]) -> None:
        """Drop the oldest of those that are not served, (name, version), beyond a few per model."""
        with self._lock:
            for key in [key for key in self._by_version if key in served]:
                self._by_version[key] = self._by_version.pop(key)
            for name in {name for name, _ in self._by_version}:
                retired = [key for key in self._by_version if key[0] == name and key not in served]
                for key in retired[: max(0, len(retired) - KEPT_RETIRED)]:
                    del self._by_version[key]

    def counted(self) -> Sequence[Counted]:
        """All of them."""
        with self._lock:
            return list(self._by_version.values())
