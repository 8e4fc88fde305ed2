"""A batcher before an engine that a test opens by hand: threads meet at gates, never at guessed times."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from inference.batching import Batcher
from inference.contract.errors import InvalidRequest
from inference.core import Request, Response
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference.batching import Answer

PATIENCE_SECONDS = 30.0


class Log:
    """Remembers every run."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, list[float]]] = []

    def batch(self, answers: Sequence[Answer], waited_seconds: Sequence[float], run_seconds: float) -> None:
        assert run_seconds >= 0
        self.runs.append((len(answers), list(waited_seconds)))


class Gate:
    """An engine that answers each request with its own values, once it is let."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[str]] = []
        self.inside = 0

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        self.inside += 1
        assert self.inside == 1, "two threads in the engine at once"
        self.batches.append([request.request_id for request in requests])
        self.entered.release()
        assert self.open.wait(PATIENCE_SECONDS)
        self.inside -= 1
        answers: list[Answer] = []
        for request in requests:
            if request.request_id.startswith("faulty"):
                answers.append(InvalidRequest("values", got=request.request_id, expected="something else"))
            elif request.request_id.startswith("crash"):
                raise ValueError(request.request_id)
            else:
                answers.append(Response(request, request.values))
        return answers


class Scene:
    """A batcher whose engine is held by a first request, and callers that queue up behind it."""

    def __init__(self, **options: Any) -> None:
        self.gate = Gate()
        self.log = Log()
        self.batcher = Batcher(
            self.gate.predict, **{"max_batch_rows": 8, "max_queue_rows": 100, **options}, observer=self.log
        )
        self._pool = ThreadPoolExecutor(32)

    def hold(self) -> Future[Response]:
        first = self.call("first")
        assert self.gate.entered.acquire(timeout=PATIENCE_SECONDS)
        return first

    def call(self, name: str, rows: int = 1, **options: object) -> Future[Response]:
        return self._pool.submit(
            self.batcher.submit,
            Request(name.encode(), rows, request_id=name),
            **options,  # type: ignore[arg-type]
        )

    def queue(self, name: str, rows: int = 1, **options: object) -> Future[Response]:
        """Call, and wait until it waits."""
        before = self.batcher.waiting_rows
        future = self.call(name, rows, **options)
        assert until(lambda: self.batcher.waiting_rows == before + rows, seconds=PATIENCE_SECONDS)
        return future

    def close(self) -> None:
        self.gate.open.set()
        self._pool.shutdown()


def answer_of(future: Future[Response]) -> str:
    return future.result(PATIENCE_SECONDS).values.decode()
