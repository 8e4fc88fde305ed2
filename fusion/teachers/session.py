"""How ONNX Runtime is asked in the build half: on the CPU, silent, and without threads that spin."""

from __future__ import annotations

import onnxruntime

from fusion.errors import FusionError


def open_session(model: bytes, where: str, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Make a graph ready to run.

    Args:
        model: the ONNX file's bytes.
        where: names the graph in errors.
        threads: of ONNX Runtime; 0 lets it choose.

    Raises:
        FusionError: ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # As for OpenMP (see `fusion`): a thread that spins while it waits takes a core from whoever works beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's exceptions share no public base class
        raise FusionError(where, got=str(error), expected="an ONNX model that ONNX Runtime can load") from error
