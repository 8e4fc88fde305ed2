"""The benchmark's own checks have to be able to fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.callers import latencies_beside, outcomes_while_stopping, packed, wrong_replies
from benchmarks.h2load import framed
from inference.contract.features import FEATURE_NAMES
from inference.engine import Engine
from inference.server import Server
from inference.settings import ServerSettings
from playfuse.demo.metrics import Scrape
from tests.support.artifacts import BEHAVIOURS, build_graph, write_artifact
from tests.support.serving import served
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("seed", "wrong"), [(0, 0), (1, 200)])
def test_replies_are_judged_by_their_values(tmp_path: Path, seed: int, wrong: int) -> None:
    engine = Engine.from_bytes(build_graph(len(FEATURE_NAMES), BEHAVIOURS, seed=seed))
    with served(tmp_path / "a") as server:
        assert wrong_replies(server.address, engine, requests=200, threads=8) == wrong


@pytest.mark.parametrize(("features", "code"), [(len(FEATURE_NAMES), "OK"), (3, "INVALID_ARGUMENT")])
def test_callers_beside_a_load_time_every_call_by_how_it_ended(tmp_path: Path, features: int, code: str) -> None:
    request = packed(np.ones((1, features), np.float32))
    labels = {"code": code, "method": "Predict"}
    with served(tmp_path / "a") as server:

        def counted() -> float:
            return Scrape.parse(server.metrics_text()).total("playfuse_request_seconds_count", **labels)

        def load() -> None:
            assert until(lambda: counted() > 0, seconds=30)

        seen = latencies_beside(server.address, request, load, threads=2)
    assert set(seen) == {code}
    assert min(seen[code]) > 0


def test_calls_are_counted_until_the_server_refuses(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a")
    server = Server(tmp_path / "a", ServerSettings(port=0, metrics_port=0))
    server.start()
    ended, code = outcomes_while_stopping(
        server.address, len(FEATURE_NAMES), lambda: 0 if server.drain() else 1, threads=4, answers_before=20
    )
    assert set(ended) == {"OK", "UNAVAILABLE"}
    assert (ended["UNAVAILABLE"], code) == (4, 0)


def test_a_message_is_framed_as_grpc_does() -> None:
    assert framed(b"abc") == b"\x00\x00\x00\x00\x03abc"
