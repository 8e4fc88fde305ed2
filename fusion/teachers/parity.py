"""Proof, at export, that the ONNX graph says what the trained model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fusion.errors import FusionError
from fusion.teachers.onnx_teacher import FEATURES, LINKS, SEQUENCES
from fusion.teachers.session import open_session
from inference.contract.artifact import PARITY_TOLERANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXPORT: Final = "ONNX export of the teacher"


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
    session = open_session(model, _EXPORT)
    feed = {FEATURES: features}
    if sequences is not None:
        feed[SEQUENCES] = sequences
    return check_close(session.run([LINKS], feed)[0], expected)


def check_close(got: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]], *, where: str = _EXPORT) -> float:
    """Compare what a graph answers with what it should; `where` names the model in errors.

    Returns:
        The largest |got - expected| / max(1, |expected|).

    Raises:
        FusionError: it is over `PARITY_TOLERANCE`.
    """
    error = float(np.max(np.abs(got - expected) / np.maximum(1.0, np.abs(expected)), initial=0.0))
    if not error <= PARITY_TOLERANCE:
        raise FusionError(
            where,
            got=f"a deviation of {error:.2e} from the trained model",
            expected=f"at most {PARITY_TOLERANCE:.0e}",
            fix="The installed ONNX Runtime computes something else; try another version of it.",
        )
    return error
