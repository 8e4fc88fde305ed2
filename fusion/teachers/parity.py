"""Proof, at export, that the ONNX graph says what the trained model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from fusion.errors import FusionError
from fusion.teachers.onnx_teacher import FEATURES, LINKS, SEQUENCES
from inference.contract.artifact import PARITY_TOLERANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_parity(
    model: bytes,
    features: NDArray[np.float32],
    sequences: NDArray[np.float32] | None,
    expected: NDArray[np.floating[Any]],
) -> float:
    """Run a graph on raw inputs and compare.

    Args:
        model: the ONNX file's bytes.
        features: (rows, features), NaN where unknown.
        sequences: (rows, T, channels), where the graph reads them.
        expected: (rows, behaviours) links of the model the graph was written from.

    Returns:
        The largest |graph - expected| / max(1, |expected|).

    Raises:
        FusionError: it is over `PARITY_TOLERANCE`.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = {FEATURES: features} if features.shape[1] else {}
    if sequences is not None:
        feed[SEQUENCES] = sequences
    return check_close(session.run([LINKS], feed)[0], expected)


def check_close(got: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]]) -> float:
    """Compare what a graph answers with what it should.

    Returns:
        The largest |got - expected| / max(1, |expected|).

    Raises:
        FusionError: it is over `PARITY_TOLERANCE`.
    """
    error = float(np.max(np.abs(got - expected) / np.maximum(1.0, np.abs(expected)), initial=0.0))
    if not error <= PARITY_TOLERANCE:
        raise FusionError(
            where="ONNX export of the teacher",
            got=f"a deviation of {error:.2e} from the trained model",
            expected=f"at most {PARITY_TOLERANCE:.0e}",
            fix="The installed ONNX Runtime computes something else; try another version of it.",
        )
    return error
