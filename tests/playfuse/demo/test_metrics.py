from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from playfuse.demo.metrics import Scrape

BOUNDS = [0.001, 0.005, 0.02, 0.1]
TEXT = """\
# TYPE requests_total counter
requests_total{method="Predict",code="OK"} 10
requests_total{method="Predict",code="INTERNAL"} 2
requests_total{method="DescribeModel",code="OK"} 3
# TYPE watts gauge
watts 7
"""


def histogram(observations: list[float]) -> Scrape:
    lines = ["# TYPE seconds histogram"]
    for bound in [*BOUNDS, math.inf]:
        count = sum(value <= bound for value in observations)
        lines.append(f'seconds_bucket{{le="{"+Inf" if math.isinf(bound) else bound}"}} {count}')
    lines += [f"seconds_count {len(observations)}", f"seconds_sum {sum(observations)}"]
    return Scrape.parse("\n".join(lines) + "\n")


def test_total_adds_the_samples_that_carry_the_labels() -> None:
    scrape = Scrape.parse(TEXT)
    assert scrape.total("requests_total") == 15
    assert scrape.total("requests_total", code="OK") == 13
    assert scrape.total("requests_total", code="OK", method="Predict") == 10
    assert scrape.total("watts") == 7
    assert scrape.total("unknown") == 0


def test_by_groups_by_a_label() -> None:
    assert Scrape.parse(TEXT).by("method", "requests_total", code="OK") == {"Predict": 10, "DescribeModel": 3}


def test_since_counts_what_is_new_from_zero() -> None:
    earlier = Scrape.parse('# TYPE requests_total counter\nrequests_total{method="Predict",code="OK"} 4\n')
    between = Scrape.parse(TEXT).since(earlier)
    assert between.by("code", "requests_total", method="Predict") == {"OK": 6, "INTERNAL": 2}


@given(
    observations=st.lists(st.floats(0, 0.1), min_size=1, max_size=50),
    quantile=st.floats(0.01, 0.99),
)
def test_a_quantile_lies_in_the_bucket_of_the_observation_at_its_rank(
    observations: list[float], quantile: float
) -> None:
    found = histogram(observations).quantile(quantile, "seconds")
    at_rank = sorted(observations)[math.ceil(quantile * len(observations)) - 1]
    bucket = bisect_left(BOUNDS, at_rank)
    assert ([0.0, *BOUNDS][bucket]) <= found <= BOUNDS[bucket]


def test_a_quantile_is_linear_within_its_bucket() -> None:
    assert histogram([0.01] * 4).quantile(0.5, "seconds") == 0.005 + (0.02 - 0.005) * 0.5


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert histogram([0.01, 5.0, 5.0]).quantile(0.9, "seconds") == BOUNDS[-1]


def test_a_quantile_of_nothing_is_unknown() -> None:
    assert math.isnan(histogram([]).quantile(0.5, "seconds"))
    assert math.isnan(Scrape.parse(TEXT).quantile(0.5, "seconds"))
