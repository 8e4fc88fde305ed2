"""A table instead of a log, from its file to answers over the wire: everything as it is typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fusion.telemetry.dataset import Dataset, Split
from inference.client import CallFailed
from inference.contract.artifact import read
from inference.engine import load
from playfuse.cli import build
from playfuse.server_process import ServerProcess, start
from tests.support.tables import write_table

TEACHERS = """\
teachers:
  - {name: line, family: logistic, settings: {epochs: 6, batch_rows: 32}}
  - {name: trees, family: boosted, settings: {trees: 10, leaves: 5, least_rows_per_leaf: 20}}
"""
RECIPE = """\
network: {bins: 4, hidden: 16, trunk: 8, behaviour: 4}
steps:
  - {step: distil, epochs: 8}
  - {step: decompose, input: {form: cp, rank: 6}, trunk: {form: cp, rank: 4}, layers: {form: cp, rank: 4}}
  - {step: finetune, epochs: 4}
"""


def playfuse(*words: str | Path) -> str:
    result = CliRunner().invoke(
        build([]), [str(word) for word in words], catch_exceptions=False, env={"COLUMNS": "160"}
    )
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the table, its dataset, teachers and artifact."""
    folder = tmp_path_factory.mktemp("table")
    file, spec = write_table(folder, players=600)
    (folder / "teachers.yaml").write_text(TEACHERS)
    (folder / "recipe.yaml").write_text(RECIPE)
    playfuse("data", file, "--spec", spec, "--out", folder / "data")
    playfuse("train", folder / "data", "--spec", folder / "teachers.yaml", "--out", folder / "teachers")
    words = ("--recipe", folder / "recipe.yaml", "--no-report", "--out", folder / "artifact")
    playfuse("fuse", folder / "data", folder / "teachers", *words)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    running = start([str(folder / "artifact")], folder / "server.log")
    yield running
    assert running.stop() == 0


def test_inspect_tells_of_a_table_as_of_a_log(folder: Path) -> None:
    manifest = json.loads(playfuse("inspect", folder / "artifact", "--json"))["manifest"]
    assert set(manifest["features"]) == {"skill", "latency_ms"}
    shown = playfuse("inspect", folder / "artifact")
    for text in ("arena", "[by] nobody", "stays, auc", "spent_hours, r2_log"):
        assert text in shown
    quality = {row.behaviour: row.fused.value for row in read(folder / "artifact").passport.behaviours}
    assert quality["stays"] > 0.7


@pytest.mark.process
def test_values_by_name_are_answered_as_the_artifact_says(folder: Path, server: ServerProcess) -> None:
    dataset = Dataset.load(folder / "data")
    artifact, engine = load(folder / "artifact")
    row = dataset.rows(Split.TEST)[0]
    known = {name: value for name, value in zip(dataset.feature_names, dataset.features[row].tolist(), strict=True)}
    pairs = [word for name, value in known.items() for word in ("--feature", f"{name}={value!r}")]
    said = json.loads(playfuse("predict", "--target", server.address, *pairs, "--json"))
    inputs = np.array([[known[name] for name in artifact.manifest.features]], dtype=np.float32)
    assert said["behaviours"] == ["stays", "spent_hours"]
    np.testing.assert_allclose(said["values"], engine.run(inputs), rtol=1e-6)


@pytest.mark.process
def test_raw_histories_are_refused_and_the_server_shows_what_to_send(folder: Path, server: ServerProcess) -> None:
    with pytest.raises(CallFailed, match=r"is not computed from sessions\. Send packed_rows or named_features"):
        playfuse("predict", "--target", server.address, "--history", "2026-01-05T18:00,3600")
    hint = next(line for line in (folder / "server.log").read_text().splitlines() if line.startswith("try"))
    words = hint.split()[2:]
    assert words[0] == "predict"
    assert "--feature" in words
    assert "stays" in playfuse(*words)
