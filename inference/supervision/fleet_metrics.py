"""One `/metrics` for all workers."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from inference.scraping import scrape
from inference.supervision import totals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.core import Metric

    from inference.supervision.totals import Families

_LOG = logging.getLogger(__name__)
_ANSWER_SECONDS: Final = 2.0


class FleetMetrics(Collector):
    """Asks every worker when it is asked itself. Any thread may use it.

    Args:
        wanted: how many workers there should be.
        refresh_seconds: how often it asks by itself. What a worker that is killed has counted since is lost.
    """

    def __init__(self, wanted: int, *, refresh_seconds: float = 5.0) -> None:
        self._refresh_seconds = refresh_seconds
        self._wanted = wanted
        self._restarts = 0
        self._urls: dict[int, str] = {}
        self._known: dict[int, Families] = {}
        self._carried: Families = []
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._refresh_regularly, name="fleet-metrics", daemon=True)
        self._thread.start()

    def joined(self, pid: int, metrics_url: str) -> None:
        """A worker answers."""
        with self._lock:
            self._urls[pid] = metrics_url

    def leaving(self, pid: int) -> None:
        """A worker drains: it is asked no more, and will tell its counts when it leaves."""
        with self._lock:
            self._urls.pop(pid, None)

    def left(self, pid: int, last: str | None) -> None:
        """A worker is gone; what it last said of its counters is kept."""
        with self._lock:
            self._urls.pop(pid, None)
            known = self._known.pop(pid, [])
            self._carried = totals.carry(self._carried, known if last is None else totals.parse(last))

    def restarted(self) -> None:
        """A worker that had died was started again."""
        with self._lock:
            self._restarts += 1

    def collect(self) -> Iterable[Metric]:
        """All families of all workers, then those of the supervisor."""
        self.refresh()
        with self._lock:
            living = list(self._known.values())
            carried, alive, restarts = self._carried, len(self._urls), self._restarts
        yield from totals.total([*living, list(self._own.collect())], carried)
        workers = GaugeMetricFamily(
            "playfuse_workers", "Serving processes: how many there should be, and how many answer.", labels=["state"]
        )
        workers.add_metric(["wanted"], self._wanted)
        workers.add_metric(["alive"], alive)
        yield workers
        yield CounterMetricFamily(
            "playfuse_worker_restarts", "Workers that died and were started again.", value=restarts
        )

    def refresh(self) -> None:
        """Ask all workers; one that does not answer stands with what it said before."""
        with self._asking:  # one at a time: older answers must not overwrite newer ones
            with self._lock:
                urls = dict(self._urls)
            if not urls:
                return
            try:
                with ThreadPoolExecutor(len(urls)) as pool:
                    answers = dict(zip(urls, pool.map(_ask, urls.values()), strict=True))
            except RuntimeError as error:  # the system has no thread to give
                _LOG.warning("the workers' metrics did not come: %s", error)
                return
            with self._lock:
                self._known |= {
                    pid: families for pid, families in answers.items() if families is not None and pid in self._urls
                }

    def close(self) -> None:
        """Ask no more by itself."""
        self._closed.set()
        self._thread.join()

    def _refresh_regularly(self) -> None:
        while not self._closed.wait(self._refresh_seconds):
            try:
                self.refresh()
            except Exception:  # without its thread what a killed worker has counted would be lost
                _LOG.exception("asking the workers for their metrics failed; it is tried again")


def _ask(url: str) -> Families | None:
    try:
        return totals.parse(scrape(url, timeout_seconds=_ANSWER_SECONDS))
    except (OSError, ValueError) as error:
        _LOG.warning("a worker's metrics did not come: %s", error)
        return None
