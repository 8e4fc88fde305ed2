from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inference.energy import meter as meters
from inference.energy.lasting import LastingMeter
from playfuse.demo.metrics import Scrape
from tests.support.rapl import Machine
from tests.support.serving import served

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("content", [None, "", "nonsense"], ids=["gone", "empty", "nonsense"])
def test_counters_that_turn_unreadable_leave_the_last_joules(
    content: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = Machine(tmp_path)
    meter = LastingMeter(machine.meter())
    assert meter.source == "rapl"
    counter = machine.powercap / "intel-rapl:0" / "energy_uj"
    machine.energy(5_000_000)
    machine.busy(101.0)
    machine.cpu_seconds += 1.0
    assert meter.read() == {"package-0": pytest.approx(4.0)}
    for _ in range(2):  # goes and comes back twice
        before = meter.read()
        caplog.clear()
        if content is None:
            counter.unlink()
        else:
            counter.write_text(content)
        assert [meter.read(), meter.read()] == [before, before]
        assert len(caplog.records) == 1
        assert "cannot be read" in caplog.text
        machine.energy(7_000_000)
        machine.busy(102.0)
        machine.cpu_seconds += 1.0
        assert meter.read() == {"package-0": pytest.approx(6.0)}


def test_counters_that_fail_from_the_start_are_there_at_zero(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    meter = LastingMeter(machine.meter())
    machine.proc_stat.unlink()
    assert meter.read() == {"package-0": 0.0}


def test_a_server_goes_on_and_shows_its_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    monkeypatch.setattr(meters, "choose", lambda **_: machine.meter())
    with served(tmp_path / "a") as server:
        machine.proc_stat.unlink()
        server.meter.read()  # as its main thread does every minute
        seen = Scrape.read(server.metrics_url, timeout_seconds=30)
        assert seen.total("playfuse_energy_joules_total", source="rapl", domain="package-0") == 0.0
