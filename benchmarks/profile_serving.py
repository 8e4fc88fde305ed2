"""Where the time of a call goes: `python -m benchmarks.profile_serving`, text in `results/serving_profile.txt`.

The native transport's own work on a burst, stage by stage, over a front that sends nothing: CPU µs per call, the best
of several turns, so that what else the machine does hardly shows. What HTTP/2 costs is not in it: `benchmarks.serving`
has the whole beside a bare echo.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.callers import packed
from inference import engine as engines
from inference.calls import Answering, name_of
from inference.cli import demo_artifact
from inference.console import console
from inference.metrics import CallMetrics
from inference.models import OneModel, ServedModel
from inference.services.player_behavior import Predict
from inference.settings import Limits
from inference.transport.bursts import Bursts
from inference.transport.front import CALL
from inference.transport.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS: Final = Path(__file__).parent / "results" / "serving_profile.txt"
BURSTS: Final = ((1, 1), (1, 4), (1, 16), (1, 64), (64, 1), (64, 4), (64, 16))
"""Players per call, calls per burst."""
TURNS: Final = 9
CALLS_PER_TURN: Final = 4_000
STAGES: Final = ("whole", "recognise", "predict", "(engine)", "count", "encode", "rest")


class Nowhere:
    """A front that sends nothing."""

    def respond(self, call_id: int, payload: bytes) -> bool:
        """See `front.Front`."""
        return True

    def fail(
        self, call_id: int, code: int, message: str, trailing_metadata: Sequence[tuple[str, str | bytes]] | None = None
    ) -> bool:
        """See `front.Front`."""
        return True


def cpu_us(work: Callable[[], object], times: int) -> float:
    """Of one call of `work` on this thread."""
    best = float("inf")
    for _ in range(TURNS):
        began = time.thread_time()
        for _ in range(times):
            work()
        best = min(best, time.thread_time() - began)
    return 1e6 * best / times


def profile(players: int, calls: int) -> list[float]:
    """CPU µs per call, in the order of `STAGES`."""
    limits = Limits()
    artifact, engine = engines.load(demo_artifact())
    model = ServedModel(artifact.manifest, engine, limits)
    method, pool = Predict(OneModel(model)), Workers(1, 1)
    bursts = Bursts(Nowhere(), (method,), Answering(CallMetrics([name_of(method)]), 10.0), pool, limits)
    rows = np.random.default_rng(0).exponential(2.0, size=(players, engine.features)).astype(np.float32)
    message = packed(rows).SerializeToString()
    method.decode(message)  # its shape is known from here on
    messages = [bytes(bytearray(message)) for _ in range(calls)]
    events = [(CALL, number, 0, one, None, ((), "", None)) for number, one in enumerate(messages)]
    asked = [one for one in map(method.quick, messages) if one is not None]
    requests = [one.request for one in asked]
    answers = model.predict(requests)
    responses = [answer for answer in answers if not isinstance(answer, Exception)]
    assert len(responses) == calls
    batch = np.tile(rows, (calls, 1))
    waited = [0.0] * calls
    quick, times = method.quick, max(50, CALLS_PER_TURN // (calls * players))
    whole, *parts = (
        cpu_us(work, times) / calls
        for work in (
            lambda: bursts.take_in(events),
            lambda: [quick(one) for one in messages],
            lambda: model.predict(requests),
            lambda: engine.run(batch),
            lambda: model.metrics.batch(answers, waited, 0.001),
            lambda: [method.encode(model, response) for response in responses],
        )
    )
    pool.shutdown()
    recognise, predict, _, count, encode = parts
    return [whole, *parts, whole - recognise - predict - count - encode]


def main() -> None:
    lines = ["CPU us per call", f"{'players x calls':18}" + "".join(f"{stage:>11}" for stage in STAGES)]
    for players, calls in BURSTS:
        measured = profile(players, calls)
        lines.append(f"{f'{players} x {calls}':18}" + "".join(f"{us:11.2f}" for us in measured))
        console.print(lines[-1])
    RESULTS.write_text("\n".join(lines) + "\n")
    console.print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
