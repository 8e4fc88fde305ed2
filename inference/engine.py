"""One ONNX Runtime session: rows in, behaviours out. Also what the build half times and checks its graphs with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnxruntime as ort

from inference.contract import artifact as artifacts
from inference.contract.artifact import MODEL_FILE, PARITY_TOLERANCE, Artifact
from inference.contract.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

INPUT_NAME: Final = "features"
OUTPUT_NAME: Final = "predictions"
_FLOAT32: Final = "tensor(float)"
_WARM_UP_ROWS: Final = (1, 2, 8, 64, 256)
_REBUILD: Final = "Rebuild the artifact with `playfuse fuse`."


class Engine:
    """The fused network in memory. `run` may be called from any thread; it lets go of the GIL while it computes."""

    def __init__(self, session: ort.InferenceSession, *, features: int, behaviours: int) -> None:
        self._session = session
        self._outputs = [OUTPUT_NAME]
        self.features = features
        self.behaviours = behaviours

    @classmethod
    def from_bytes(cls, model: bytes, *, where: str = MODEL_FILE, threads: int = 1) -> Engine:
        """Open a graph with one float32 input `features` (rows, any) and one float32 output `predictions`.

        Args:
            model: the ONNX file's content.
            where: how a fault names the model.
            threads: threads inside one run. One is right for a server: many small runs side by side.

        Raises:
            ArtifactError: ONNX Runtime cannot open it, or its input or output is another one.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors reach the caller as exceptions; warnings are about the build
        try:
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no common root of its exceptions
            raise ArtifactError(
                where, got=f"ONNX Runtime says: {error}", expected="a valid ONNX graph", fix=_REBUILD
            ) from error
        features = _width(session.get_inputs(), INPUT_NAME, f"{where} inputs")
        behaviours = _width(session.get_outputs(), OUTPUT_NAME, f"{where} outputs")
        return cls(session, features=features, behaviours=behaviours)

    def run(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score players.

        Args:
            rows: (players, features) float32, C-contiguous; NaN marks a missing value.

        Returns:
            (players, behaviours) float32, served scale.
        """
        outputs: NDArray[np.float32] = self._session.run(self._outputs, {INPUT_NAME: rows})[0]
        return outputs

    def warm_up(self) -> None:
        """Run the usual batch sizes once, so that no first caller pays for memory and code to be made ready."""
        for rows in _WARM_UP_ROWS:
            self.run(np.zeros((rows, self.features), dtype=np.float32))


def load(path: Path) -> tuple[Artifact, Engine]:
    """Read an artifact, verify all of it, open its graph, check its answers to the probe, warm it up.

    Raises:
        ArtifactError: names the file or check that failed, what was got and what was expected.
    """
    artifact = artifacts.read(path)
    engine = Engine.from_bytes(artifact.model, where=str(path / MODEL_FILE))
    check(engine, artifact)
    engine.warm_up()
    return artifact, engine


def check(engine: Engine, artifact: Artifact) -> None:
    """Check the graph against its manifest: the widths, and the answers to the probe (parity).

    Raises:
        ArtifactError: the graph is not the one the manifest speaks of, or answers otherwise on this machine.
    """
    manifest = artifact.manifest
    where = str(artifact.path / MODEL_FILE)
    for label, got, expected in (
        ("features", engine.features, len(manifest.features)),
        ("behaviours", engine.behaviours, len(manifest.behaviours)),
    ):
        if got != expected:
            raise ArtifactError(
                where, got=f"{got} {label}", expected=f"{expected}, as many as the manifest names", fix=_REBUILD
            )
    try:
        outputs = engine.run(manifest.probe.inputs())
    except Exception as error:
        raise ArtifactError(
            where, got=f"ONNX Runtime says: {error}", expected="answers to the probe", fix=_REBUILD
        ) from error
    parity_error = manifest.probe.error(outputs)
    if not parity_error <= PARITY_TOLERANCE:
        raise ArtifactError(
            f"{where} probe",
            got=f"answers that differ by {parity_error:.3g} from those at build time",
            expected=f"at most {PARITY_TOLERANCE:g}",
            fix=f"The graph does not compute here what it computed there. {_REBUILD}",
        )


def _width(tensors: Iterable[ort.NodeArg], name: str, where: str) -> int:
    """Columns of the one tensor, which must be a float32 matrix of that name with any number of rows."""
    described = [(tensor.name, tensor.type, list(tensor.shape)) for tensor in tensors]
    if len(described) == 1:
        got_name, got_type, shape = described[0]
        any_rows = len(shape) == 2 and not isinstance(shape[0], int)
        if (got_name, got_type) == (name, _FLOAT32) and any_rows and isinstance(shape[1], int):
            return shape[1]
    raise ArtifactError(
        where, got=described, expected=f"one {_FLOAT32} matrix `{name}` of any rows and fixed columns", fix=_REBUILD
    )
