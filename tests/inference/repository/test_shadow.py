from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference.contract.behaviours import DEFAULT_BEHAVIOURS
from inference.contract.errors import InvalidRequest
from inference.contract.features import FEATURE_NAMES
from inference.core import Request, Response
from inference.engine import Engine
from inference.models import ServedModel
from inference.repository.shadow import BOUNDS, Differences, Shadow
from inference.settings import Limits
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PATIENCE_SECONDS = 30.0
ROWS = np.random.default_rng(2).exponential(2.0, size=(4, len(FEATURE_NAMES))).astype("<f4")
SCALES = [{"probability": 1, "hours": 3_600}.get(behaviour.unit, 1) for behaviour in BEHAVIOURS]


class Gated:
    """An engine that waits for a test, and may be told to fail."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.fails = False

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        self.entered.release()
        assert self.open.wait(PATIENCE_SECONDS)
        if self.fails:
            raise RuntimeError
        return self.engine.run(rows)


class Scene:
    """A live version and one in its shadow, whose behaviours come in another order, one more than the live has."""

    def __init__(self, percent: float = 100, max_queue_rows: int = 1_000) -> None:
        graph = build_graph(len(FEATURE_NAMES), BEHAVIOURS, seed=1)
        live = BEHAVIOURS[:5]
        self.live_engine = Engine.from_bytes(build_graph(len(FEATURE_NAMES), live))
        self.theirs = BEHAVIOURS[::-1]
        graph = build_graph(len(FEATURE_NAMES), self.theirs, seed=1)
        self.engine = Gated(Engine.from_bytes(graph))
        manifest = make_manifest(graph, FEATURE_NAMES, self.theirs, version="2")
        self.shadow = Shadow(live, ServedModel(manifest, self.engine, Limits()), percent, max_queue_rows)

    def answer(self, rows: NDArray[np.float32] = ROWS, columns: tuple[int, ...] | None = None) -> Response:
        values = self.live_engine.run(rows)
        asked = values if columns is None else values[:, columns]
        return Response(Request(rows.tobytes(), len(rows), columns), asked.astype("<f4").tobytes())

    def apart(self, rows: NDArray[np.float32] = ROWS) -> NDArray[np.float64]:
        """(rows, 5) as it should come out, in base units."""
        own = self.engine.engine.run(rows)[:, ::-1][:, :5]
        return np.abs(self.live_engine.run(rows).astype(np.float64) - own) * SCALES[:5]

    def wait(self, outcome: str, calls: int) -> bool:
        return until(lambda: getattr(self.shadow, outcome).value == calls, seconds=PATIENCE_SECONDS)


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(**getattr(request, "param", {}))
    yield scene
    scene.engine.open.set()
    scene.shadow.close()


def test_the_differences_are_those_of_the_two_versions(scene: Scene) -> None:
    scene.shadow.tap([scene.answer(), scene.answer(ROWS[:2])])
    assert scene.wait("compared", 2)
    expected = np.concatenate([scene.apart(), scene.apart(ROWS[:2])])
    for column, difference in enumerate(scene.shadow.differences.read()):
        assert difference.behaviour == BEHAVIOURS[column].name
        assert sum(difference.distribution.counts) == 6
        assert difference.mean == pytest.approx(expected[:, column].mean(), rel=1e-6)
        assert difference.largest == pytest.approx(expected[:, column].max(), rel=1e-6)


def test_only_what_was_asked_for_is_compared(scene: Scene) -> None:
    scene.shadow.tap([scene.answer(columns=(3, 1))])
    assert scene.wait("compared", 1)
    players = [sum(difference.distribution.counts) for difference in scene.shadow.differences.read()]
    assert players == [0, 4, 0, 4, 0]
    assert scene.shadow.differences.read()[3].largest == pytest.approx(scene.apart()[:, 3].max(), rel=1e-6)


@pytest.mark.parametrize("scene", [{"percent": 25}], indirect=True)
def test_a_percentage_is_that_share_of_the_calls(scene: Scene) -> None:
    for _ in range(10):
        scene.shadow.tap([scene.answer() for _ in range(10)])
    assert scene.wait("compared", 25)


@pytest.mark.parametrize("scene", [{"percent": 0}], indirect=True)
def test_nothing_is_nothing(scene: Scene) -> None:
    scene.shadow.tap([scene.answer()] * 100)
    assert sum(counter.value for counter in (scene.shadow.compared, scene.shadow.dropped)) == 0


@pytest.mark.parametrize("scene", [{"max_queue_rows": 10}], indirect=True)
def test_when_the_queue_is_full_copies_are_dropped_and_counted_and_nobody_waits(scene: Scene) -> None:
    scene.engine.open.clear()
    for _ in range(20):
        scene.shadow.tap([scene.answer()])  # of 4 players: two fit
    assert scene.shadow.dropped.value == 18
    scene.engine.open.set()
    assert scene.wait("compared", 2)

    def one_more_is_compared() -> bool:
        scene.shadow.tap([scene.answer()])
        return scene.shadow.compared.value >= 3

    # The place is free again as soon as the thread has put its copies away.
    assert until(one_more_is_compared, seconds=PATIENCE_SECONDS)


def test_answers_that_are_no_predictions_are_not_compared(scene: Scene) -> None:
    degraded = scene.answer()._replace(degraded=True)
    scene.shadow.tap([degraded, InvalidRequest("values", got=1, expected="2"), scene.answer()])
    assert scene.wait("compared", 1)


def test_a_shadow_that_fails_is_counted_and_goes_on(scene: Scene) -> None:
    scene.engine.fails = True
    scene.shadow.tap([scene.answer(), scene.answer()])
    assert scene.wait("failed", 2)
    scene.engine.fails = False
    scene.shadow.tap([scene.answer()])
    assert scene.wait("compared", 1)


def test_its_thread_ends_with_it() -> None:
    before = threading.active_count()
    scene = Scene()
    scene.engine.open.clear()
    scene.shadow.tap([scene.answer()])
    assert scene.engine.entered.acquire(timeout=PATIENCE_SECONDS)
    scene.shadow.tap([scene.answer()] * 20)
    scene.engine.open.set()
    scene.shadow.close()
    assert threading.active_count() == before
    assert scene.shadow.compared.value <= 1


def test_a_bound_belongs_to_its_bucket_and_hours_are_seconds() -> None:
    hours = DEFAULT_BEHAVIOURS["playtime_7d_hours"]
    differences = Differences([hours])
    one = np.array([[0.0], [0.0], [0.0]], np.float32)
    other = np.array([[1 / 3_600], [0.5], [0.0]], np.float32)
    differences.add([0], one, other)
    (difference,) = differences.read()
    assert (difference.unit, difference.largest) == ("seconds", 1_800)
    assert difference.distribution.counts[0] == 1
    assert difference.distribution.counts[BOUNDS.index(1e4)] == 1
    assert sum(difference.distribution.counts) == 3
