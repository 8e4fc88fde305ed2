from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from inference.supervision.totals import carry, parse, total
from playfuse.demo.metrics import Scrape


def page(calls: float, waiting: float, start: float = 5.0, version: str = "1") -> str:
    return f"""\
# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{{code="OK"}} {calls}
calls_total{{code="BAD",method="x"}} 1.0
# HELP wait_seconds Wait.
# TYPE wait_seconds histogram
wait_seconds_bucket{{le="0.1"}} {calls}
wait_seconds_bucket{{le="+Inf"}} {calls + 1}
wait_seconds_count {calls + 1}
wait_seconds_sum 0.5
# HELP rows_waiting Rows.
# TYPE rows_waiting gauge
rows_waiting {waiting}
# HELP model_info Model.
# TYPE model_info gauge
model_info{{version="{version}"}} 1.0
# HELP canary_ratio Share.
# TYPE canary_ratio gauge
canary_ratio 0.25
# HELP canary_percent Share.
# TYPE canary_percent gauge
canary_percent 25.0
# HELP shadow_largest_difference Largest.
# TYPE shadow_largest_difference gauge
shadow_largest_difference {calls}
# HELP playfuse_state_saved Saved.
# TYPE playfuse_state_saved gauge
playfuse_state_saved {float(version == "1")}
# HELP process_start_time_seconds Start.
# TYPE process_start_time_seconds gauge
process_start_time_seconds {start}
"""


class Shown(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def exposed(*pages: str, carried: tuple[str, ...] = ()) -> Scrape:
    """What /metrics says of living and dead workers."""
    gone = carry([], [])
    for one in carried:
        gone = carry(gone, parse(one))
    registry = CollectorRegistry()
    registry.register(Shown(list(total([parse(one) for one in pages], gone))))
    return Scrape.parse(generate_latest(registry).decode())


def test_amounts_are_added_by_labels_and_the_rest_is_not() -> None:
    scrape = exposed(page(3, 10, start=7), page(4, 20, start=6, version="2"))
    assert scrape.by("code", "calls_total") == {"OK": 7.0, "BAD": 2.0}
    assert scrape.total("wait_seconds_bucket", le="0.1") == 7
    assert scrape.total("wait_seconds_count") == 9
    assert scrape.total("wait_seconds_sum") == 1.0
    assert scrape.total("rows_waiting") == 30
    assert scrape.by("version", "model_info") == {"1": 1.0, "2": 1.0}
    assert scrape.total("canary_ratio") == 0.25
    assert scrape.total("canary_percent") == 25
    assert scrape.total("shadow_largest_difference") == 4
    assert scrape.total("playfuse_state_saved") == 0, "only where all of them say so"
    assert scrape.total("process_start_time_seconds") == 6


def test_the_dead_count_on_in_what_never_goes_down() -> None:
    scrape = exposed(page(3, 10), carried=(page(100, 99, start=1), page(1_000, 99)))
    assert scrape.by("code", "calls_total") == {"OK": 1_103.0, "BAD": 3.0}
    assert scrape.total("wait_seconds_count") == 1_106
    assert scrape.total("rows_waiting") == 10
    assert scrape.total("process_start_time_seconds") == 5


def test_one_worker_is_shown_as_it_is() -> None:
    assert exposed(page(3, 10)) == Scrape.parse(page(3, 10))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), min_size=1, max_size=30))
def test_whoever_dies_when_sums_never_go_down(events: list[tuple[int, int]]) -> None:
    """Each event: a worker counts some calls, or (every third one) dies and begins again at nothing."""
    living = dict.fromkeys(range(4), 0)
    carried: list[Metric] = []
    before = counted = 0
    for step, (worker, calls) in enumerate(events):
        if step % 3 == 2:
            carried = list(carry(carried, parse(page(living[worker], 0))))
            living[worker] = 0
        else:
            living[worker] += calls
            counted += calls
        families = total([parse(page(value, 0)) for value in living.values()], carried)
        (value,) = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "calls_total" and sample.labels["code"] == "OK"
        ]
        assert value == counted >= before
        before = counted
