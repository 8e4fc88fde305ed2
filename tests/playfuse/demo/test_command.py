from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from fusion.telemetry.dataset import build as build_dataset
from fusion.telemetry.simulate import simulate
from inference import engine
from inference.client import Client
from inference.contract.errors import PlayfuseError
from playfuse.cli import build as build_app
from playfuse.demo.command import build, check_installed, show
from playfuse.demo.load import LOCUSTFILE
from tests.support.artifacts import write_artifact

pytestmark = pytest.mark.xdist_group("load")


def servers() -> list[int]:
    """Servers that this process has started and that still run."""
    children = psutil.Process().children()
    return [one.pid for one in children if one.status() != psutil.STATUS_ZOMBIE and "serve" in one.cmdline()]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    build_dataset(simulate(120, seed=3)).save(folder)
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    write_artifact(folder)
    return folder


@pytest.mark.process
def test_a_kept_server_answers_until_it_is_stopped(
    dataset: Path, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = show(dataset, artifact, tmp_path, load_seconds=3, keep=True)
    try:
        with Client(server.address, timeout_seconds=10) as client:
            assert client.describe().model_name == "testnet"
    finally:
        assert server.stop() == 0
    shown = capsys.readouterr().out
    for text in ("requests per second", "p99 in the server", "joules per 1,000 predictions", "answered by testnet 1"):
        assert text in shown


@pytest.mark.process
def test_the_server_is_stopped_when_a_step_fails(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(PlayfuseError, match="no dataset"):
        show(tmp_path / "no dataset", artifact, tmp_path, load_seconds=1, keep=True)
    assert servers() == []
    assert "draining" in (tmp_path / "server.log").read_text()


@pytest.mark.process
def test_a_step_that_fails_ends_the_demo(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where a folder is needed")
    with pytest.raises(PlayfuseError, match=r"playfuse data --simulate 100 .*exit code 2"):
        build(tmp_path / "out", 100)


@pytest.mark.parametrize(
    ("needs", "locustfile", "named"),
    [(("no_such_package",), LOCUSTFILE, "no_such_package"), ((), Path("/nowhere/locustfile.py"), "locustfile.py")],
)
def test_what_is_missing_is_said_first(needs: tuple[str, ...], locustfile: Path, named: str) -> None:
    with pytest.raises(PlayfuseError, match=named):
        check_installed(needs, locustfile)


def test_help_teaches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    shown = CliRunner().invoke(build_app(missing=[]), ["demo", "--help"]).output
    for text in ("--simulate", "--keep", "PLAYFUSE_DATA", "Examples"):
        assert text in shown


@pytest.mark.process
def test_the_whole_demo_on_simulated_players(tmp_path: Path) -> None:
    arguments = ["demo", "--simulate", "150", "--load-seconds", "3", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "playfuse", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for text in ("playfuse data --simulate 150", "playfuse train", "playfuse fuse", "simulated", "failed requests"):
        assert text in shown
    assert "draining" in (tmp_path / "server.log").read_text()
    assert {"dataset", "teachers", "artifact", "load.json"} <= {path.name for path in tmp_path.iterdir()}
    # The artifact that it leaves is whole: hashes, schema and parity hold.
    loaded, _ = engine.load(tmp_path / "artifact")
    assert loaded.manifest.synthetic
    assert len(loaded.passport.lineage.teachers_sha256) >= 8
