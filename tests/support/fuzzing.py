"""How many inputs each decoder's test tries: with the other tests some 3,000 in all, 100,000 each with `make fuzz`."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

INPUTS: Final = int(os.environ.get("FUZZ_INPUTS", "300"))
FUZZED: Final = settings(
    max_examples=INPUTS,
    deadline=None,
    # So many inputs would take long to write down, and what fails is printed anyway.
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
