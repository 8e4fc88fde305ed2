"""Versions on trial: canaries by share of the keys, shadows beside the live version."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from inference.contract.errors import ArtifactError
from inference.contract.features import FEATURE_NAMES
from inference.refusals import UnknownModel
from inference.repository.faults import Conflict
from inference.settings import CanaryBounds, ServerSettings
from tests.support.artifacts import BEHAVIOURS, write_artifact
from tests.support.repositories import answers, expected, fail_until_taken_back, live, opened
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


PATIENCE_SECONDS = 30.0


def test_a_canary_meets_its_share_and_an_explicit_version_is_that_version(root: Path) -> None:
    with opened(root) as repository:
        repository.trials.start_canary("net", "2", 30)
        router = repository.router
        met = [router.find("net", "", f"player {number}").version for number in range(1_000)]
        assert 200 < met.count("2") < 400
        assert met.count("2") + met.count("10") == 1_000
        assert {router.find("net", version, "player").version for version in ("2", "10")} == {"2", "10"}
        assert router.find("net").version == "10"
        assert {model.version for model in router.candidates("net")} == {"2", "10"}
        assert [model.version for model in router.candidates("net", "2")] == ["2"]
        assert answers(router.find("net", "2"))
        model = router.find("net", "2")
        for percent, versions in ((0, {"10"}), (100, {"2"})):
            repository.trials.start_canary("net", "2", percent)
            assert {router.find("net", "", f"player {number}").version for number in range(200)} == versions
        assert router.find("net", "2") is model, "another share is no reason to read it again"
        repository.promote("net")
        assert router.find("net") is model
        assert router.route("net").previous == "10"
        with pytest.raises(Conflict, match="a version on trial"):
            repository.promote("net")


def test_a_canary_that_is_stopped_is_gone(root: Path) -> None:
    with opened(root) as repository:
        repository.trials.start_canary("net", "2", 100)
        repository.trials.stop_canary("net")
        assert repository.router.find("net", "", "player").version == "10"
        assert [model.version for model in repository.router.candidates("net")] == ["10"]
        with pytest.raises(Conflict, match="an operator ended the trial"):
            repository.trials.stop_canary("net")


def test_a_new_canary_takes_the_place_of_the_old_one(root: Path) -> None:
    with opened(root) as repository:
        repository.trials.start_canary("net", "1", 100)
        repository.trials.start_canary("net", "2", 100)
        assert repository.router.find("net", "", "player").version == "2"


def test_whatever_makes_another_version_live_ends_trials(root: Path) -> None:
    threads = threading.active_count()
    with opened(root) as repository:
        repository.trials.start_canary("net", "1", 50)
        repository.trials.start_shadow("net", "2", 50)
        assert threading.active_count() == threads + 2
        repository.load("net", "2")
        route = repository.router.route("net")
        assert (route.canary, route.shadow) == (None, None)
        assert threading.active_count() == threads


def test_a_canary_has_to_take_and_answer_what_the_live_version_does(root: Path) -> None:
    write_artifact(root / "net" / "11", name="net", version="11", behaviours=BEHAVIOURS[:3])
    write_artifact(root / "net" / "12", name="net", version="12", features=FEATURE_NAMES[::-1])
    write_artifact(root / "net" / "9", name="net", version="9", behaviours=BEHAVIOURS[::-1])
    with opened(root) as repository:
        repository.load("net", "10")
        for start in (repository.trials.start_canary, repository.trials.start_shadow):
            for version, why in (("11", "every behaviour"), ("12", "in their order"), ("10", "another one")):
                with pytest.raises(ArtifactError, match=why):
                    start("net", version, 5)
            start("net", "9", 5)
        repository.load("net", "12")  # an operator may well change what the model takes
        assert live(repository) == "12"


def test_a_canary_that_fails_is_taken_back_by_itself_with_the_reason(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bounds = CanaryBounds(min_calls=20, look_every_seconds=0.01)
    with opened(root, ServerSettings(canary=bounds)) as repository:
        repository.trials.start_canary("net", "2", 50)
        router = repository.router
        assert fail_until_taken_back(router, "net", "2", seconds=PATIENCE_SECONDS)
        assert until(lambda: repository.changes.rollbacks["net", "errors"].value == 1, seconds=PATIENCE_SECONDS)
        assert "2, taken back: " in repository.trials.endings["net"]
        assert "net 2 is taken back (errors)" in caplog.text
        assert {router.find("net", "", f"player {number}").version for number in range(50)} == {"10"}
        with pytest.raises(Conflict, match=r"the last one was 2, taken back: .* calls failed"):
            repository.promote("net")


def test_shadow_copies_follow_the_live_version(root: Path) -> None:
    with opened(root) as repository:
        repository.trials.start_shadow("net", "2", 100)
        shadow = repository.router.route("net").shadow
        assert shadow is not None
        assert answers(repository.router.find("net"))
        assert until(lambda: shadow.compared.value == 1, seconds=PATIENCE_SECONDS)
        apart = np.abs(expected("net", "10").astype(np.float64) - expected("net", "2"))
        churn = shadow.differences.read()[0]
        assert churn.largest == pytest.approx(apart[:, 0].max(), rel=1e-4)
        with pytest.raises(UnknownModel):  # nobody meets it
            repository.router.find("net", "2")
        repository.trials.stop_shadow("net")
        assert answers(repository.router.find("net"))
        assert shadow.compared.value == 1
        with pytest.raises(Conflict, match="a version that answers copies"):
            repository.trials.stop_shadow("net")
