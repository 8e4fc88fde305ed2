"""Workers stood in for by metrics pages of the same kind, each over a real HTTP connection."""

from __future__ import annotations

import re
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, start_http_server

from inference.supervision import fleet_metrics
from inference.supervision.fleet_metrics import FleetMetrics
from playfuse.demo.metrics import Scrape
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 30.0
HANDBOOK = Path(__file__).resolve().parents[3] / "docs" / "operations.md"


class Page:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.calls = Counter("calls", "Calls.", registry=self._registry)
        self.waiting = Gauge("waiting", "Rows.", registry=self._registry)
        self._server, self._thread = start_http_server(0, "127.0.0.1", registry=self._registry)
        self.url = f"http://127.0.0.1:{self._server.server_port}/metrics"

    def text(self) -> str:
        return generate_latest(self._registry).decode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def pages() -> Iterator[list[Page]]:
    pages = [Page(), Page()]
    yield pages
    for page in pages:
        page.close()


@pytest.fixture
def fleet() -> Iterator[FleetMetrics]:
    fleet = FleetMetrics(2)
    yield fleet
    fleet.close()


def scrape(fleet: FleetMetrics) -> Scrape:
    registry = CollectorRegistry()
    registry.register(fleet)
    return Scrape.parse(generate_latest(registry).decode())


def test_workers_come_and_go_and_their_counts_stay(fleet: FleetMetrics, pages: list[Page]) -> None:
    assert scrape(fleet).by("state", "playfuse_workers") == {"wanted": 2.0, "alive": 0.0}
    for pid, page in enumerate(pages):
        fleet.joined(pid, page.url)
        page.calls.inc(10)
        page.waiting.set(3)
    seen = scrape(fleet)
    assert (seen.total("calls_total"), seen.total("waiting")) == (20.0, 6.0)
    assert seen.total("playfuse_workers", state="alive") == 2
    pages[0].calls.inc(5)  # after it was last asked: lost, as it is killed
    fleet.left(0, None)
    pages[1].calls.inc(7)
    seen = scrape(fleet)
    assert (seen.total("calls_total"), seen.total("waiting")) == (27.0, 3.0)
    fleet.leaving(1)
    pages[1].calls.inc(2)
    assert scrape(fleet).total("calls_total") == 27, "asked no more, and not forgotten"
    fleet.left(1, pages[1].text())  # it drained, and told
    fleet.restarted()
    seen = scrape(fleet)
    assert (seen.total("calls_total"), seen.total("waiting")) == (29.0, 0.0)
    assert seen.total("playfuse_workers", state="alive") == 0
    assert seen.total("playfuse_worker_restarts_total") == 1


def test_who_does_not_answer_stands_with_what_it_said(fleet: FleetMetrics, pages: list[Page]) -> None:
    fleet.joined(0, pages[0].url)
    pages[0].calls.inc(4)
    fleet.refresh()
    pages[0].close()
    try:
        assert scrape(fleet).total("calls_total") == 4
    finally:
        pages[0] = Page()


def test_no_proxy_is_asked_for_what_is_on_this_machine(
    fleet: FleetMetrics, pages: list[Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # where nobody listens
    fleet.joined(0, pages[0].url)
    pages[0].calls.inc(4)
    assert scrape(fleet).total("calls_total") == 4
    assert Scrape.read(pages[0].url).total("calls_total") == 4


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncalls_total 1\n", b"what?\r\n\r\n"])
def test_who_answers_in_no_whole_http_stands_with_what_it_said(
    fleet: FleetMetrics, pages: list[Page], caplog: pytest.LogCaptureFixture, reply: bytes
) -> None:
    fleet.joined(0, pages[0].url)
    pages[0].calls.inc(4)
    fleet.refresh()

    class Broken(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(reply)

    with socketserver.TCPServer(("127.0.0.1", 0), Broken) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(server.serve_forever, 0.01)
        fleet.joined(0, f"http://127.0.0.1:{server.server_address[1]}/metrics")
        try:
            assert scrape(fleet).total("calls_total") == 4
        finally:
            server.shutdown()
    assert "a worker's metrics did not come" in caplog.text


def test_without_threads_all_stand_with_what_they_said(
    fleet: FleetMetrics, pages: list[Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.joined(0, pages[0].url)
    pages[0].calls.inc(4)
    fleet.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert scrape(fleet).total("calls_total") == 4


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_whatever_fails_it_asks_again_by_itself(
    pages: list[Page], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = FleetMetrics(1, refresh_seconds=0.01)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(fleet_metrics, "_ask", lambda _: 1 / 0)
            fleet.joined(0, pages[0].url)
            assert until(lambda: caplog.text.count("it is tried again") > 1, seconds=PATIENCE_SECONDS)
        pages[0].calls.inc(4)
        fleet.joined(1, pages[1].url)
        pages[1].calls.inc(3)
        assert until(lambda: counted_without_asking(fleet) == 7, seconds=PATIENCE_SECONDS)
    finally:
        fleet.close()


def counted_without_asking(fleet: FleetMetrics) -> float:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "refresh", lambda: None)
        return scrape(fleet).total("calls_total")


def test_the_supervisor_itself_is_counted(fleet: FleetMetrics) -> None:
    assert scrape(fleet).total("process_resident_memory_bytes") > 1_000_000


def test_the_handbook_lists_what_only_a_supervisor_shows(fleet: FleetMetrics) -> None:
    listed = set(re.findall(r"^\| `(playfuse_worker\w+)`", HANDBOOK.read_text(), re.MULTILINE))
    shown = {family.name + "_total" * (family.type == "counter") for family in fleet.collect()}
    assert listed == {name for name in shown if name.startswith("playfuse_worker")}
