"""Whatever is asked in whatever order: every request gets exactly one answer, its own, and the bounds hold."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.batching import Batcher
from inference.contract.errors import InvalidRequest
from inference.core import Request, Response
from inference.refusals import Cancelled, QueueFull
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.batching import Answer

PATIENCE_SECONDS = 30.0
MAX_BATCH_ROWS, MAX_QUEUE_ROWS = 8, 24
CALLS = st.lists(
    st.tuples(
        st.integers(1, MAX_BATCH_ROWS),
        st.sampled_from(["good", "good", "good", "faulty", "unwanted", "crash"]),
        st.sampled_from([1e6, 2e6, 3e6, math.inf]),
    ),
    max_size=12,
)


def waits(batcher: Batcher, rows: int) -> bool:
    return batcher.waiting_rows == rows


class Silent:
    def batch(self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float) -> None:
        pass


@settings(max_examples=60)
@given(CALLS)
def test_exactly_one_answer_and_its_own(calls: list[tuple[int, str, float]]) -> None:
    opened = threading.Event()
    entered = threading.Event()
    batches: list[list[int]] = []

    def predict(requests: Sequence[Request]) -> list[Answer]:
        entered.set()
        assert opened.wait(PATIENCE_SECONDS)
        if any(request.request_id == "crash" for request in requests):
            raise ValueError
        batches.append([request.rows for request in requests])
        return [
            InvalidRequest("values", got=request.values, expected="")
            if request.request_id == "faulty"
            else Response(request, request.values)
            for request in requests
        ]

    batcher = Batcher(predict, max_batch_rows=MAX_BATCH_ROWS, max_queue_rows=MAX_QUEUE_ROWS, observer=Silent())

    def call(number: int, rows: int, kind: str, deadline: float) -> str:
        request = Request(str(number).encode(), rows, request_id=kind)
        try:
            response = batcher.submit(request, deadline_seconds=deadline, is_wanted=lambda: kind != "unwanted")
        except QueueFull:
            return "full"
        except InvalidRequest as error:
            return "faulty" if error.got == str(request.values) else "another's fault"
        except Cancelled:
            return "unwanted"
        except ValueError:
            return "crash"
        assert response.request is request
        assert response.values == request.values
        return "good"

    with ThreadPoolExecutor(len(calls) + 1) as pool:
        holder = pool.submit(call, -1, 1, "good", math.inf)
        assert entered.wait(PATIENCE_SECONDS)
        futures, expected, waiting = [], [], 0
        for number, (rows, kind, deadline) in enumerate(calls):
            futures.append(pool.submit(call, number, rows, kind, deadline))
            fits = waiting + rows <= MAX_QUEUE_ROWS
            expected.append(kind if fits else "full")
            waiting += rows if fits else 0
            if fits:
                assert until(partial(waits, batcher, waiting), seconds=PATIENCE_SECONDS)
            else:
                assert futures[-1].result(PATIENCE_SECONDS) == "full"
        opened.set()
        assert holder.result(PATIENCE_SECONDS) == "good"
        assert [future.result(PATIENCE_SECONDS) for future in futures] == expected
    assert all(sum(rows) <= MAX_BATCH_ROWS for rows in batches)
    assert batcher.waiting_rows == 0
    assert batcher.close(0.0)
