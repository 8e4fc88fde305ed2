from __future__ import annotations

import time
from pathlib import Path

import pytest

from inference.energy import meter as meters
from inference.energy.estimate import DEFAULT_WATTS_PER_CORE


def test_rapl_where_a_package_is_readable(tmp_path: Path) -> None:
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    for name, text in (("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "100")):
        (zone / name).write_text(text)
    assert meters.choose(powercap=tmp_path).source == "rapl"


@pytest.mark.parametrize(("told", "watts"), [(None, DEFAULT_WATTS_PER_CORE), (50.0, 50.0)])
def test_an_estimate_where_there_is_none(tmp_path: Path, told: float | None, watts: float) -> None:
    before = time.process_time()
    meter = meters.choose(powercap=tmp_path / "nowhere", watts_per_core=told)
    assert meter.source == "estimate"
    while time.process_time() < before + 0.02:
        pass
    assert 0 < meter.read()["cpu"] <= watts * (time.process_time() - before)


def test_this_machine_has_a_meter_that_never_falls() -> None:
    meter = meters.choose()
    first = meter.read()
    second = meter.read()
    assert first.keys() == second.keys()
    assert all(second[domain] >= joules >= 0 for domain, joules in first.items())
