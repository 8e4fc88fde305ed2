"""Two repositories, each with its own copy of the folder so that one of them can be broken: an owner and a follower."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference.core import Request
from inference.repository.follower import Follower
from inference.repository.membership import Membership
from inference.repository.repository import Repository
from inference.repository.state import STATE_FILE, ModelServing, Share
from inference.settings import CanaryBounds, ServerSettings
from tests.support.disks import fill, small_disk
from tests.support.repositories import ROWS, damage, expected, fail_until_taken_back, remove, write_versions
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from inference.repository.canary import Verdict
    from inference.repository.state import Serving

PATIENCE_SECONDS = 30.0
SETTINGS = ServerSettings(canary=CanaryBounds(min_calls=20, look_every_seconds=0.01))


class Server:
    """One of them, connected to the others without a supervisor between them."""

    def __init__(self, root: Path, others: list[Server]) -> None:
        self._others = others
        self.said: Serving | None = None
        known = [other.said for other in others if other.said is not None]
        self.member = Membership(self, known[0] if known else None)
        self.repository = Repository(root, SETTINGS, member=self.member)
        self.follower = Follower(self.repository, self._own)
        self.follower.start()
        others.append(self)

    def publish(self, serving: Serving) -> None:
        self.said = serving
        for other in self._others:
            if other is not self:
                other.follower.follow(serving)

    def report(self, name: str, version: str, verdict: Verdict) -> None:
        for other in self._others:
            other.follower.take_back(name, version, verdict)

    def release(self) -> None:
        pass

    def _own(self) -> None:
        self.member.owns = True
        self.repository.record.take_over()

    def own(self) -> None:
        self.follower.own()
        assert until(lambda: self.said is not None, seconds=PATIENCE_SECONDS)

    def close(self) -> None:
        self.follower.close()
        self.repository.close()

    def serving(self, name: str = "net") -> ModelServing | None:
        return self.repository.record._now().models.get(name)

    def comes_to(self, wanted: ModelServing | None, name: str = "net") -> bool:
        return until(lambda: self.serving(name) == wanted, seconds=PATIENCE_SECONDS)


@contextlib.contextmanager
def servers(*roots: Path) -> Iterator[list[Server]]:
    everybody: list[Server] = []
    threads = threading.active_count()
    try:
        for root in roots:
            server = Server(root, everybody)
            if everybody[0].said is None:
                server.own()
            else:  # as a supervisor tells those that have become ready
                server.follower.follow(everybody[0].said)
        yield everybody
    finally:
        for server in everybody:
            server.close()
    assert threading.active_count() == threads


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("one", "two"):
        write_versions(tmp_path / name, "net", ["1", "2", "3"])
    return tmp_path / "one", tmp_path / "two"


def answers(server: Server, version: str) -> bool:
    model = server.repository.router.find("net", version)
    response = model.batcher.submit(Request(ROWS.astype("<f4").tobytes(), len(ROWS)))
    values = np.frombuffer(response.values, "<f4").reshape(len(ROWS), -1)
    return np.allclose(values, expected("net", version), rtol=1e-5, atol=1e-6)


def test_every_change_is_followed(roots: tuple[Path, Path]) -> None:
    with servers(*roots) as (owner, other):
        mine, trials = owner.repository, owner.repository.trials
        changes: list[Callable[[], None]] = [
            lambda: mine.load("net", "1"),
            lambda: trials.start_canary("net", "2", 25),
            lambda: trials.start_canary("net", "2", 75),
            lambda: trials.start_shadow("net", "3", 50),
            lambda: trials.start_shadow("net", "3", 100),
            lambda: trials.stop_shadow("net"),
            lambda: mine.promote("net"),
            lambda: mine.rollback("net"),
            lambda: trials.start_canary("net", "3", 10),
            lambda: trials.start_canary("net", "2", 10),
            lambda: trials.stop_canary("net"),
            lambda: trials.start_shadow("net", "2", 50),
            lambda: trials.start_shadow("net", "3", 50),
            lambda: mine.unload("net"),
            lambda: mine.load("net", "3"),
        ]
        for change in changes:
            before = owner.serving()
            change()
            assert owner.serving() != before
            assert other.comes_to(owner.serving())
        assert answers(other, "3")
        assert other.repository.changes.swaps["net"].value == 0, "the owner's changes, counted once"
        assert mine.changes.swaps["net"].value == 4
    assert not (roots[1] / STATE_FILE).exists(), "only the owner writes"


def test_what_is_promoted_is_not_read_again_and_what_is_loaded_is(roots: tuple[Path, Path]) -> None:
    with servers(*roots) as (owner, other):
        router = other.repository.router
        owner.repository.trials.start_canary("net", "1", 50)
        assert other.comes_to(owner.serving())
        on_trial = router.find("net", "1")
        owner.repository.promote("net")
        assert other.comes_to(owner.serving())
        assert router.find("net") is on_trial
        owner.repository.load("net", "1")
        assert other.comes_to(owner.serving())
        assert router.find("net") is not on_trial


def test_who_cannot_follow_keeps_what_it_has_counts_and_tries_again(
    roots: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    write_versions(roots[0], "net", ["4"])
    with servers(roots[0], roots[1]) as (owner, other):
        assert other.comes_to(ModelServing(live="3")), "it started with the newest that it had"
        failures = other.repository.changes.load_failures["net"]
        assert until(lambda: failures.value >= 1, seconds=PATIENCE_SECONDS), "a folder that is missing"
        damage(roots[1], "net", "2")
        owner.repository.load("net", "2")
        assert until(lambda: ("net", "2") in other.repository.loader.faults, seconds=PATIENCE_SECONDS)
        before = failures.value
        assert until(lambda: failures.value > before, seconds=PATIENCE_SECONDS)
        assert "net does not follow the owner: " in caplog.text
        assert answers(other, "3")
        remove(roots[1], "net", "2")
        write_versions(roots[1], "net", ["2"])
        assert other.comes_to(owner.serving())
        assert answers(other, "2")


def test_one_broken_trial_or_model_keeps_no_other_from_following(roots: tuple[Path, Path]) -> None:
    for root in roots:
        write_versions(root, "other", ["1", "2"])
    with servers(*roots) as (owner, other):
        damage(roots[1], "net", "2")
        owner.repository.trials.start_canary("net", "2", 50)
        owner.repository.trials.start_shadow("net", "1", 50)
        owner.repository.load("other", "1")
        assert other.comes_to(owner.serving("other"), "other")
        assert other.comes_to(ModelServing(live="3", shadow=Share(version="1", percent=50)))


def test_a_version_that_does_badly_in_a_follower_is_taken_back_everywhere(roots: tuple[Path, Path]) -> None:
    with servers(*roots) as (owner, other):
        owner.repository.trials.start_canary("net", "2", 50)
        assert other.comes_to(owner.serving())
        router = other.repository.router
        assert fail_until_taken_back(router, "net", "2", seconds=PATIENCE_SECONDS)
        assert owner.repository.router.route("net").canary is None
        assert "2, taken back: " in owner.repository.trials.endings["net"]
        assert owner.repository.changes.rollbacks["net", "errors"].value == 1
        assert other.repository.changes.rollbacks["net", "errors"].value == 0


def test_who_takes_over_decides_with_what_it_serves(roots: tuple[Path, Path]) -> None:
    with servers(*roots) as (owner, other):
        owner.repository.load("net", "1")
        owner.member.owns = False  # it has gone, before the other one has followed or after
        other.own()
        assert other.serving() == ModelServing(live="1", previous="3", reads=1)
        other.repository.load("net", "2")
        assert owner.comes_to(other.serving())
        assert (roots[1] / STATE_FILE).exists()


def test_who_starts_later_serves_what_the_others_do(roots: tuple[Path, Path]) -> None:
    with servers(roots[0]) as everybody:
        everybody[0].repository.load("net", "2")
        late = Server(roots[1], everybody)
        assert late.serving() == ModelServing(live="2", previous="3", reads=1)


def test_a_change_that_cannot_be_written_is_followed_all_the_same(tmp_path: Path, roots: tuple[Path, Path]) -> None:
    with small_disk(tmp_path, 1_024) as disk:
        write_versions(disk, "net", ["1", "2", "3"])
        with servers(disk, roots[1]) as (owner, other):
            fill(disk, leave_bytes=0)
            owner.repository.load("net", "1")
            assert owner.repository.record.fault
            assert other.comes_to(ModelServing(live="1", previous="3", reads=1))
