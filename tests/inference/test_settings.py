from __future__ import annotations

import pytest
from pydantic import ValidationError

from inference.settings import Limits, ServerSettings


def test_defaults_are_loopback_and_consistent() -> None:
    settings = ServerSettings()
    assert (settings.host, settings.metrics_host) == ("127.0.0.1", "127.0.0.1")
    assert settings.limits.max_rows_per_request <= settings.limits.max_batch_rows


@pytest.mark.parametrize("larger", ["max_batch_rows", "max_queue_rows"])
def test_a_request_that_could_never_be_run_is_refused_at_start(larger: str) -> None:
    with pytest.raises(ValidationError, match=f"max_rows_per_request is 100, expected at most {larger}"):
        Limits(**{"max_rows_per_request": 100, "max_batch_rows": 200, "max_queue_rows": 200, larger: 99})


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="prot"):
        ServerSettings(prot=1)  # type: ignore[call-arg]
