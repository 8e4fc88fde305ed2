from __future__ import annotations

from inference.contract.errors import InvalidRequest
from inference.core import Request, Response
from inference.metrics import ModelMetrics


def test_a_batch_is_counted_by_players_and_by_behaviour() -> None:
    metrics = ModelMetrics(behaviours=3)
    everything = Response(Request(b"", 4, dropped_sessions=2), b"")
    some = Response(Request(b"", 2, columns=(0, 2)), b"", degraded=True)
    fault = InvalidRequest("values", got=1, expected="2")
    metrics.batch([everything, fault, some], [0.001, 0.002, 0.003], 0.0005)
    assert metrics.predictions() == [6, 4, 6]
    assert metrics.batch_rows.read().total == 6
    assert sum(metrics.queue_wait_seconds.read().counts) == 3
    assert sum(metrics.inference_seconds.read().counts) == 1
    assert metrics.degraded.value == 1
    assert metrics.sessions_dropped.value == 2
