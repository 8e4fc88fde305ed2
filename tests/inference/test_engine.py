from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from inference import engine as engines
from inference.contract import artifact as artifacts
from inference.contract.artifact import MODEL_FILE, Artifact, Probe
from inference.contract.errors import ArtifactError
from inference.engine import Engine
from tests.support.artifacts import BEHAVIOURS, build_graph, make_manifest, make_passport, serialize, write_artifact

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = ("recency_hours", "sessions_7d", "gap_1_hours")


def matmul_graph(**changes: object) -> bytes:
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    node = helper.make_node("MatMul", ["features", "w"], ["predictions"])
    return serialize([node], [weights], **{"features": 3, "behaviours": 2, **changes})  # type: ignore[arg-type]


def test_rows_go_in_and_behaviours_come_out() -> None:
    engine = Engine.from_bytes(matmul_graph())
    rows = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    assert (engine.features, engine.behaviours) == (3, 2)
    np.testing.assert_array_equal(engine.run(rows), [[6, 6], [15, 15]])


def test_bytes_that_are_no_graph_are_refused_by_name() -> None:
    with pytest.raises(ArtifactError, match=r"models/x: got ONNX Runtime says: .*expected a valid ONNX graph"):
        Engine.from_bytes(b"no graph", where="models/x")


def test_a_graph_of_another_type_is_refused() -> None:
    node = helper.make_node("Abs", ["features"], ["predictions"])
    double = serialize([node], [], features=3, behaviours=3, element=TensorProto.DOUBLE)
    with pytest.raises(ArtifactError, match=r"inputs: got .*double.*expected one tensor\(float\) matrix `features`"):
        Engine.from_bytes(double)


def test_a_graph_with_other_names_is_refused() -> None:
    node = helper.make_node("Abs", ["x"], ["predictions"])
    with pytest.raises(ArtifactError, match=r"inputs: got \[\('x'"):
        Engine.from_bytes(serialize([node], [], features=3, behaviours=3, names=("x", "predictions")))
    node = helper.make_node("Abs", ["features"], ["y"])
    with pytest.raises(ArtifactError, match=r"outputs: got \[\('y'"):
        Engine.from_bytes(serialize([node], [], features=3, behaviours=3, names=("features", "y")))


def test_a_graph_for_a_fixed_number_of_rows_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"inputs: got .*\[4, 3\]"):
        Engine.from_bytes(matmul_graph(rows=4))


def test_load_gives_a_verified_engine(tmp_path: Path) -> None:
    written = write_artifact(tmp_path / "a", features=FEATURES)
    artifact, engine = engines.load(tmp_path / "a")
    assert artifact == written
    probe = artifact.manifest.probe
    np.testing.assert_allclose(engine.run(probe.inputs()), np.array(probe.expected), rtol=1e-5)


def test_load_refuses_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        engines.load(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "passport.json"])
def test_load_names_a_missing_file(tmp_path: Path, file: str) -> None:
    write_artifact(tmp_path / "a", features=FEATURES)
    (tmp_path / "a" / file).unlink()
    with pytest.raises(ArtifactError, match=file):
        engines.load(tmp_path / "a")


def rewritten(path: Path, *, model: bytes, probe: Probe | None = None) -> None:
    """An artifact whose hashes are right and whose model is another one."""
    honest = build_graph(len(FEATURES), BEHAVIOURS)
    manifest = make_manifest(honest, FEATURES, BEHAVIOURS)
    if probe is not None:
        manifest = manifest.model_copy(update={"probe": probe})
    artifacts.write(path, manifest=manifest, model=model, passport=make_passport())


def test_load_refuses_a_model_that_answers_otherwise(tmp_path: Path) -> None:
    rewritten(tmp_path / "a", model=build_graph(len(FEATURES), BEHAVIOURS, seed=7))
    with pytest.raises(ArtifactError, match=r"probe: got answers that differ by .* expected at most 0.0001"):
        engines.load(tmp_path / "a")


def test_load_refuses_a_model_of_other_widths(tmp_path: Path) -> None:
    rewritten(tmp_path / "a", model=build_graph(5, BEHAVIOURS))
    with pytest.raises(ArtifactError, match="got 5 features, expected 3, as many as the manifest names"):
        engines.load(tmp_path / "a")
    shutil.rmtree(tmp_path / "a")
    rewritten(tmp_path / "a", model=build_graph(3, BEHAVIOURS[:2]))
    with pytest.raises(ArtifactError, match="got 2 behaviours, expected 8"):
        engines.load(tmp_path / "a")


def test_a_model_that_fails_on_the_probe_is_refused(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a", features=FEATURES)
    # Gathers row 100, which no probe has: opens well, fails when run.
    far = numpy_helper.from_array(np.full((1,), 100, np.int64), "far")
    widen = numpy_helper.from_array(np.ones((3, 8), np.float32), "w")
    nodes = [
        helper.make_node("Gather", ["features", "far"], ["one"], axis=0),
        helper.make_node("Add", ["features", "one"], ["sum"]),
        helper.make_node("MatMul", ["sum", "w"], ["predictions"]),
    ]
    engine = Engine.from_bytes(serialize(nodes, [far, widen], features=3, behaviours=8))
    with pytest.raises(ArtifactError, match="expected answers to the probe"):
        engines.check(engine, artifact)


def test_from_bytes_is_what_load_checks(tmp_path: Path) -> None:
    artifact: Artifact = write_artifact(tmp_path / "a", features=FEATURES)
    engines.check(Engine.from_bytes(artifact.model, threads=2), artifact)
    assert (tmp_path / "a" / MODEL_FILE).read_bytes() == artifact.model
