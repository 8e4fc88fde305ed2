"""What a server starts with: what was live, else the newest that is good; one that is broken takes no other down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inference.contract.errors import ArtifactError, PlayfuseError
from inference.settings import ServerSettings
from tests.support.repositories import damage, deny, live, opened, remove, write_versions

if TYPE_CHECKING:
    from pathlib import Path


PATIENCE_SECONDS = 30.0


def test_a_start_without_a_state_takes_the_newest_that_is_good(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    damage(root, "net", "10")
    with opened(root) as repository:
        assert live(repository) == "2"
        assert "net 10 is not served" in caplog.text
        write_versions(root, "net", ["10"])
        repository.load("net")
        assert live(repository) == "10"
        assert ("net", "10") not in repository.loader.faults


def test_a_start_whose_live_version_is_gone_takes_the_one_before(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(root) as repository:
        repository.load("net", "1")
        repository.load("net", "2")
    remove(root, "net", "2")
    with opened(root) as repository:
        assert live(repository) == "1"
        assert "net 1 is live instead of 2" in caplog.text


@pytest.mark.parametrize("what", ["nothing", "no folder", "only broken", "no default"])
def test_without_anything_to_serve_there_is_no_start(tmp_path: Path, what: str) -> None:
    settings = ServerSettings()
    if what == "only broken":
        write_versions(tmp_path, "net", ["1"])
        damage(tmp_path, "net", "1")
    if what == "no default":
        write_versions(tmp_path, "net", ["1"])
        settings = ServerSettings(default_model="other")
    reasons = {"only broken": "SHA-256", "no default": "no model 'other', only net"}
    with (
        pytest.raises(ArtifactError, match=reasons.get(what, "no models")),
        opened(tmp_path / "missing" if what == "no folder" else tmp_path, settings),
    ):
        pass


def test_one_broken_model_does_not_take_the_others_down(root: Path) -> None:
    write_versions(root, "other", ["1"])
    damage(root, "other", "1")
    with opened(root) as repository:
        assert [model.name for model in repository.router.served()] == ["net"]
        states = {(state.name, state.version): state for state in repository.index()}
        assert states["net", "10"].is_ready
        assert not states["other", "1"].is_ready
        assert "SHA-256" in states["other", "1"].reason


def test_a_folder_that_cannot_be_listed_does_not_take_the_others_down(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "lost+found").mkdir()
    with monkeypatch.context() as patch:
        deny(patch, root / "lost+found")
        with opened(root) as repository:
            assert live(repository) == "10"
            assert "no version of lost+found can be served" in caplog.text
            for _ in range(2):
                states = {(state.name, state.version): state for state in repository.index()}
            assert states["net", "10"].is_ready
            assert not states["lost+found", ""].is_ready
            assert "Permission denied" in states["lost+found", ""].reason
            with pytest.raises(ArtifactError, match=r"lost\+found: got Permission denied"):
                repository.load("lost+found")
            assert caplog.text.count("no version of lost+found can be found") == 1
            deny(patch, root / "net")
            assert live(repository) == "10"
            states = {(state.name, state.version): state for state in repository.index()}
            assert [state.is_ready for state in (states["net", "10"], states["net", ""])] == [True, False]
            patch.undo()
            assert {state.version for state in repository.index()} == {"10", "2", "1"}


def test_a_link_to_where_nobody_may_look_does_not_take_the_others_down(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "other").symlink_to(root / "net")
    deny(monkeypatch, root / "other", look="is_dir")
    deny(monkeypatch, root / "other")
    with opened(root) as repository:
        assert {state.name for state in repository.index() if state.is_ready} == {"net"}
        assert "Permission denied" in repository.loader.faults["other", ""]


@pytest.mark.parametrize("only", [True, False])
def test_a_start_needs_a_root_that_can_be_listed_and_something_to_serve(
    root: Path, monkeypatch: pytest.MonkeyPatch, only: bool
) -> None:
    deny(monkeypatch, root / "net" if only else root)
    with pytest.raises(ArtifactError, match="Permission denied"), opened(root):
        pass


def test_a_state_that_nobody_understands_stops_the_start(root: Path) -> None:
    (root / ".playfuse-serving.json").write_text("{")
    with pytest.raises(PlayfuseError, match="remove it"), opened(root):
        pass
