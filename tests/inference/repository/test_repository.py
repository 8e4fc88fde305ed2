"""Loading, swapping, going back: what is served afterwards is what was meant, whatever was wrong with the files."""

from __future__ import annotations

import gc
import logging
import re
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from inference.contract import artifact as artifacts
from inference.contract.artifact import MODEL_FILE, Probe
from inference.contract.errors import ArtifactError
from inference.contract.features import FEATURE_NAMES
from inference.refusals import UnknownModel
from inference.repository.faults import Busy, Conflict
from inference.repository.turns import Turns
from inference.settings import ServerSettings
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest, make_passport, write_artifact
from tests.support.disks import fill, small_disk
from tests.support.repositories import answers, damage, live, opened, remove, write_versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inference.models import ModelControl, Models

PATIENCE_SECONDS = 30.0


def test_it_starts_with_the_newest_version(root: Path) -> None:
    with opened(root) as repository:
        assert live(repository) == "10"
        assert answers(repository.router.find())
        assert [(state.version, state.is_ready) for state in repository.index()] == [
            ("10", True),
            ("2", False),
            ("1", False),
        ]


def test_it_is_what_a_protocol_of_repositories_needs(root: Path) -> None:
    with opened(root) as repository:
        control: ModelControl = repository
        models: Models = repository.router
        control.load("net", "1")
        assert [model.version for model in models.served()] == ["1"]
        assert {state.version for state in control.index() if state.is_ready} == {"1"}


def test_it_goes_on_with_what_was_live(root: Path) -> None:
    with opened(root) as repository:
        repository.load("net", "1")
        repository.load("net", "2")
        repository.trials.start_canary("net", "10", 25)
        repository.trials.start_shadow("net", "1", 50)
        before = repository.router.route("net")
    with opened(root) as repository:
        route = repository.router.route("net")
        assert (route.live.version, route.previous) == ("2", "1")
        assert route.canary is not None
        assert route.shadow is not None
        assert before.canary is not None
        assert (route.canary.model.version, route.shadow.model.version) == ("10", "1")
        assert (route.canary.split.percent, route.shadow.percent) == (25, 50)
        keys = [f"player {number}" for number in range(200)]
        assert [route.canary.split.takes(key) for key in keys] == [before.canary.split.takes(key) for key in keys]


def test_a_new_version_replaces_the_old_one_and_rollback_goes_one_step_back(root: Path) -> None:
    with opened(root) as repository:
        repository.load("net", "1")
        repository.load("net", "2")
        assert answers(repository.router.find("net"))
        assert live(repository) == "2"
        repository.rollback("net")
        assert live(repository) == "1"
        assert answers(repository.router.find("net"))
        with pytest.raises(Conflict, match="version 1 with none before it"):
            repository.rollback("net")
        assert live(repository) == "1"
        assert repository.changes.swaps["net"].value == 3
        assert repository.changes.rollbacks["net", "operator"].value == 1


def test_the_version_that_is_live_is_read_anew_and_keeps_the_one_before_it(root: Path) -> None:
    with opened(root) as repository:
        repository.load("net", "2")
        first = repository.router.find("net")
        repository.load("net", "2")
        assert repository.router.find("net") is not first
        assert repository.router.route("net").previous == "10"


def wrong_parity(root: Path) -> None:
    graph, other = (build_graph(len(FEATURE_NAMES), BEHAVIOURS, seed=seed) for seed in (7, 8))
    manifest = make_manifest(graph, FEATURE_NAMES, BEHAVIOURS, name="net", version="11")
    wrong = tuple(tuple(value + 0.01 for value in row) for row in manifest.probe.expected)
    lying = manifest.model_copy(update={"probe": Probe(rows=manifest.probe.rows, expected=wrong)})
    artifacts.write(root / "net" / "11", manifest=lying, model=other, passport=make_passport())


def damaged(root: Path) -> None:
    write_versions(root, "net", ["11"])
    damage(root, "net", "11")


def incomplete(root: Path) -> None:
    write_versions(root, "net", ["11"])
    (root / "net" / "11" / MODEL_FILE).unlink()


def empty(root: Path) -> None:
    (root / "net" / "11").mkdir()


def another_version(root: Path) -> None:
    write_artifact(root / "net" / "11", name="net", version="12")


def another_model(root: Path) -> None:
    write_artifact(root / "net" / "11", name="other", version="11")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (damaged, "SHA-256"),
        (incomplete, "No such file"),
        (empty, r"manifest\.json"),
        (wrong_parity, "probe: got answers that differ"),
        (another_version, "version 12 in its manifest, expected model net version 11, as its folders say"),
        (another_model, r"model other version 11 in its manifest.*Move it to .*other/11"),
    ],
)
def test_a_broken_version_never_replaces_a_good_one_and_says_why(
    root: Path, make: Callable[[Path], None], why: str
) -> None:
    with opened(root) as repository:
        make(root)
        attempts: list[Callable[[], None]] = [
            lambda: repository.load("net"),
            lambda: repository.trials.start_canary("net", "11", 5),
            lambda: repository.trials.start_shadow("net", "11", 5),
        ]
        for attempt in attempts:
            with pytest.raises(ArtifactError, match=why):
                attempt()
        assert live(repository) == "10"
        assert answers(repository.router.find("net"))
        assert repository.changes.load_failures["net"].value == 3
        (fault,) = [state.reason for state in repository.index() if state.version == "11"]
        assert re.search(why, fault)
    with opened(root) as repository:  # and a restart takes the next best
        assert live(repository) == "10"


def test_an_unloaded_model_stays_so_until_it_is_loaded(root: Path) -> None:
    write_versions(root, "other", ["1"])
    with opened(root) as repository:
        repository.unload("net")
        with pytest.raises(UnknownModel, match="expected one that is served: other 1"):
            repository.router.find("net")
        with pytest.raises(UnknownModel):
            repository.unload("net")
    with opened(root) as repository:
        assert [model.name for model in repository.router.served()] == ["other"]
        repository.load("net", "2")
        assert live(repository) == "2"
        repository.rollback("net")
        assert live(repository) == "10"


def test_names_that_are_unknown_are_told_with_those_that_are_not(root: Path) -> None:
    write_versions(root, "other", ["1"])
    with opened(root) as repository:
        for name, version, why in (
            ("nothing", "", "got model 'nothing', expected one of net, other in"),
            ("../net", "1", "expected one of net, other in"),
            ("net", "3", "got model net version '3', expected one of 10, 2, 1"),
            ("net", "../1", "expected one of 10, 2, 1"),
            ("net", ".", "expected one of 10, 2, 1"),
            ("", "", "expected one of net, other"),
        ):
            with pytest.raises(UnknownModel, match=why):
                repository.load(name, version)
        with pytest.raises(UnknownModel, match="got no model's name, expected one that is served: net 10, other 1"):
            repository.router.find()
        with pytest.raises(UnknownModel, match=r"got model 'net' version '2', expected .*: net 10, other 1"):
            repository.router.find("net", "2")
        for change in (repository.promote, repository.rollback, repository.trials.stop_canary):
            with pytest.raises(UnknownModel, match="got model 'x', expected one that is served: net 10, other 1"):
                change("x")


def test_with_several_models_a_default_answers_calls_that_name_none(root: Path) -> None:
    write_versions(root, "other", ["1"])
    with opened(root, ServerSettings(default_model="other")) as repository:
        assert repository.router.find().name == "other"
        assert repository.router.find(version="1").name == "other"


def test_folders_that_vanish_while_serving_take_nothing_away(root: Path) -> None:
    with opened(root) as repository:
        repository.load("net", "2")
        remove(root, "net")
        assert answers(repository.router.find("net"))
        assert [(state.version, state.is_ready) for state in repository.index()] == [("2", True)]
        with pytest.raises(UnknownModel):
            repository.rollback("net")
        with pytest.raises(UnknownModel):
            repository.load("net")
        assert live(repository) == "2"
        assert answers(repository.router.find("net"))


def test_a_full_disk_keeps_nobody_from_rolling_back(tmp_path: Path) -> None:
    with small_disk(tmp_path, 1_024) as disk:
        write_versions(disk, "net", ["1", "2"])
        with opened(disk) as repository:
            repository.load("net", "1")
            repository.load("net", "2")
            assert repository.record.fault == ""
            fill(disk, leave_bytes=0)
            repository.rollback("net")
            assert live(repository) == "1"
            assert "a restart will not know of it" in repository.record.fault


def test_nothing_of_an_old_version_stays_in_memory(root: Path) -> None:
    """Without help of the garbage collector: what serves from the start is never looked at by it."""
    with opened(root) as repository:
        gc.collect()
        gc.disable()
        try:
            gone: list[Callable[[], object]] = []
            for version in ("1", "2", "10"):
                model = repository.router.find("net")
                assert answers(model)
                gone += [weakref.ref(model), weakref.ref(model._scoring._core._engine), weakref.ref(model.codec)]
                del model
                repository.trials.start_shadow("net", version if version != "10" else "1", 100)
                repository.load("net", version)
            assert [reference() for reference in gone] == [None] * 9
        finally:
            gc.enable()


def test_many_admins_at_once_leave_one_consistent_picture(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with opened(root) as repository:
        trials = repository.trials
        changes: list[Callable[[], None]] = [
            lambda: repository.load("net", "1"),
            lambda: repository.load("net", "2"),
            lambda: repository.rollback("net"),
            lambda: repository.promote("net"),
            lambda: trials.start_canary("net", "10", 50),
            lambda: trials.start_shadow("net", "1", 50),
            lambda: trials.stop_canary("net"),
        ]

        def change(number: int) -> str:
            try:
                changes[number % len(changes)]()
            except (Conflict, ArtifactError) as error:
                return type(error).__name__
            return "done"

        with ThreadPoolExecutor(7) as pool:
            outcomes = list(pool.map(change, range(42)))
        assert outcomes.count("done") >= 12  # no load can fail
        route = repository.router.route("net")
        assert all(answers(model) for model in repository.router.served())
    with opened(root) as again:  # and the file has what was served last
        assert again.router.route("net").live.version == route.live.version
        assert again.router.route("net").previous == route.previous


def test_a_change_that_takes_too_long_is_told_to_the_next() -> None:
    turns = Turns(patience_seconds=0.01)
    with (
        turns.one("loading net"),
        pytest.raises(Busy, match="rolling back net: got loading net, still under way"),
        turns.one("rolling back net"),
    ):
        pass
    with turns.one("again"):
        pass


def test_lookups_see_one_picture_or_the_other_while_it_changes(root: Path) -> None:
    stop = threading.Event()
    seen: set[str] = set()
    faults: list[BaseException] = []

    with opened(root) as repository:
        router = repository.router

        def look() -> None:
            try:
                while not stop.is_set():
                    model = router.find("net", "", "player")
                    seen.add(model.version)
                    assert answers(model)
            except BaseException as error:
                faults.append(error)

        readers = [threading.Thread(target=look) for _ in range(3)]
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(seen) < 2 and time.monotonic() < deadline and not faults:
            for version in ("1", "2"):
                repository.load("net", version)
        stop.set()
        for reader in readers:
            reader.join()
    assert not faults
    assert len(seen) >= 2
