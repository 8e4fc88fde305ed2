"""A change of the models that takes its time while the server drains: callers neither wait for it nor are lost."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from inference.admin_client import AdminClient
from inference.client import CallFailed, Client
from inference.repository.membership import Membership
from inference.repository.state import ModelServing, Serving
from inference.server import Server
from inference.settings import ServerSettings
from tests.support.repositories import ROWS, write_versions
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inference.repository.canary import Verdict

PATIENCE_SECONDS = 20.0


class Gate:
    """In the place of a method: tells that it was entered, and does its work once it is let."""

    def __init__(self, method: Any) -> None:
        self._method = method
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, *arguments: Any) -> Any:
        self.entered.set()
        assert self.open.wait(3 * PATIENCE_SECONDS)
        return self._method(*arguments)


class Line:
    """To others that are not there."""

    def publish(self, serving: Serving) -> None:
        pass

    def report(self, name: str, version: str, verdict: Verdict) -> None:
        pass

    def release(self) -> None:
        pass


class Scene:
    """A server of net 2 in which loading any version stops at a gate."""

    def __init__(self, root: Path, member: Membership | None, grace_seconds: float) -> None:
        write_versions(root, "net", ["1", "2"])
        ports = {"port": 0, "metrics_port": 0, "admin_port": 0}
        settings = ServerSettings.model_validate({**ports, "models": root, "grace_seconds": grace_seconds})
        self.server = Server(None, settings, member)
        self.server.start()
        repository = self.server._repository
        assert repository is not None
        self.loading = repository.loader.to_serve = Gate(repository.loader.to_serve)  # type: ignore[method-assign,assignment]
        batcher = repository.router.find("net").batcher
        self.scoring = batcher._predict = Gate(batcher._predict)
        self.threads = ThreadPoolExecutor(3)

    def predict(self) -> str:
        with Client(self.server.address, timeout_seconds=PATIENCE_SECONDS, max_attempts=1) as client:
            return client.predict(rows=ROWS).model_version

    def load(self) -> str:
        with AdminClient(self.server.admin_address, timeout_seconds=PATIENCE_SECONDS) as admin:
            return admin.load("net", "1").model.live_version

    def takes_no_calls(self) -> bool:
        try:
            self.predict()
        except CallFailed as error:
            return error.code is grpc.StatusCode.UNAVAILABLE
        return False


@contextlib.contextmanager
def scene(root: Path, *, follows: bool = False, grace_seconds: float) -> Iterator[Scene]:
    scene = Scene(root, Membership(Line()) if follows else None, grace_seconds)
    try:
        yield scene
    finally:
        scene.loading.open.set()
        scene.scoring.open.set()
        scene.threads.shutdown()


def test_calls_are_answered_and_then_turned_away_while_a_version_is_still_read(tmp_path: Path) -> None:
    with scene(tmp_path, grace_seconds=3 * PATIENCE_SECONDS) as it:
        loaded = it.threads.submit(it.load)
        answered = it.threads.submit(it.predict)
        assert it.loading.entered.wait(PATIENCE_SECONDS)
        assert it.scoring.entered.wait(PATIENCE_SECONDS)
        drained = it.threads.submit(it.server.drain)
        it.scoring.open.set()
        assert answered.result(PATIENCE_SECONDS) == "2"
        assert until(it.takes_no_calls, seconds=PATIENCE_SECONDS)
        assert not drained.done()
        it.loading.open.set()
        assert loaded.result(PATIENCE_SECONDS) == "1", "an operator's call is answered too where there is time"
        assert drained.result(PATIENCE_SECONDS)


@pytest.mark.parametrize("follows", [False, True], ids=["operator", "follower"])
def test_a_version_that_is_read_for_ever_holds_no_end_up(
    tmp_path: Path, follows: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with scene(tmp_path, follows=follows, grace_seconds=0.5) as it:
        if follows:
            assert it.server.follower is not None
            it.server.follower.follow(Serving(models={"net": ModelServing(live="1", reads=1)}))
        else:
            loaded = it.threads.submit(it.load)
        assert it.loading.entered.wait(PATIENCE_SECONDS)
        drained = it.threads.submit(it.server.drain)
        assert drained.result(PATIENCE_SECONDS)
        assert "a change of the models was still under way" in caplog.text
        if not follows:
            with pytest.raises(CallFailed):
                loaded.result(PATIENCE_SECONDS)
