"""One teacher as every peer runs it: an ONNX Runtime session of one thread. Imported in the peers' own environments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Teacher:
    """Features in, links out; one core serves all, so a thread pool of its own would only be in the way.

    Args:
        model: ONNX file with one input and one output.
    """

    def __init__(self, model: Path | str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.features: int = self._session.get_inputs()[0].shape[1]

    def links(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(rows, features) → (rows, 1)."""
        return np.asarray(self._session.run(None, {self._input: features})[0])


def arguments() -> argparse.Namespace:
    """What the driver tells every server that is a script of ours: `models`, `port`, `batch`, `wait_ms`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, required=True, help="folder of <behaviour>.onnx")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1, help="most requests that run as one; 1: no batching")
    parser.add_argument("--wait-ms", type=int, default=0, help="how long a batch may wait for more")
    return parser.parse_args()
