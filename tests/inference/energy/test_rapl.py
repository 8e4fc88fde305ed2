from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inference.energy.rapl import RaplMeter
from tests.support.rapl import RANGE_MICROJOULES, Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_only_packages_count_and_nothing_is_spent_at_first(machine: Machine) -> None:
    meter = machine.meter()
    assert meter.source == "rapl"
    assert meter.read() == {"package-0": 0.0}


def test_the_process_gets_its_part_of_the_busy_time(machine: Machine) -> None:
    meter = machine.meter()
    machine.energy(1_000_000 + 40_000_000)
    machine.busy(108.0)
    machine.cpu_seconds += 2.0
    assert meter.read() == {"package-0": pytest.approx(40.0 * 2.0 / 8.0)}
    machine.energy(1_000_000 + 50_000_000)
    machine.busy(109.0)
    assert meter.read() == {"package-0": pytest.approx(10.0)}, "an idle process spends nothing"


def test_every_package_has_its_own_counter(machine: Machine) -> None:
    machine.zone("intel-rapl:2", "package-1", 0)
    meter = machine.meter()
    machine.energy(3_000_000)
    machine.energy(8_000_000, "intel-rapl:2")
    machine.busy(101.0)
    machine.cpu_seconds += 0.5
    assert meter.read() == {"package-0": pytest.approx(1.0), "package-1": pytest.approx(4.0)}


def test_a_counter_that_comes_round_goes_on(machine: Machine) -> None:
    machine.energy(RANGE_MICROJOULES - 3_000_000)
    meter = machine.meter()
    machine.energy(2_000_000)
    machine.busy(110.0)
    machine.cpu_seconds += 10.0
    assert meter.read() == {"package-0": pytest.approx(5.0)}


def test_energy_between_two_ticks_of_the_clock_is_kept_for_the_next(machine: Machine) -> None:
    meter = machine.meter()
    machine.energy(11_000_000)
    machine.cpu_seconds += 0.001
    assert meter.read() == {"package-0": 0.0}
    machine.busy(101.0)
    machine.cpu_seconds += 0.999
    assert meter.read() == {"package-0": pytest.approx(10.0)}


def test_never_more_than_all_of_it(machine: Machine) -> None:
    meter = machine.meter()
    machine.energy(11_000_000)
    machine.busy(100.5)
    machine.cpu_seconds += 3.0
    assert meter.read() == {"package-0": pytest.approx(10.0)}


def test_without_packages_there_is_no_meter(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no package zone"):
        RaplMeter(tmp_path, proc_stat=tmp_path / "stat")


def test_without_a_counter_there_is_no_meter(machine: Machine) -> None:
    (machine.powercap / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(FileNotFoundError):
        machine.meter()
