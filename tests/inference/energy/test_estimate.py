from __future__ import annotations

import time

import pytest

from inference.energy.estimate import EstimateMeter


def test_cpu_seconds_times_watts_since_the_start() -> None:
    cpu_seconds = [100.0]
    meter = EstimateMeter(4.0, lambda: cpu_seconds[0])
    assert meter.source == "estimate"
    assert meter.read() == {"cpu": 0.0}
    cpu_seconds[0] = 102.5
    assert meter.read() == {"cpu": pytest.approx(10.0)}


def test_it_follows_the_real_process() -> None:
    meter = EstimateMeter(2.0)
    before = time.process_time()
    while time.process_time() < before + 0.02:
        pass
    assert meter.read()["cpu"] >= 0.04
