"""A teacher in Triton's Python backend: laid into its model repository as `model.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as triton
from teacher import Teacher


class TritonPythonModel:
    """Runs one teacher; what Triton's batcher collected is run as one."""

    def initialize(self, args: dict[str, str]) -> None:
        """`args["model_repository"]` is the model's folder."""
        self._teacher = Teacher(f"{args['model_repository']}/{args['model_version']}/model.onnx")

    def execute(self, requests: list[Any]) -> list[Any]:
        """A reply per request."""
        inputs = [triton.get_input_tensor_by_name(request, "features").as_numpy() for request in requests]
        links = self._teacher.links(inputs[0] if len(inputs) == 1 else np.concatenate(inputs))
        parts = np.split(links, np.cumsum([len(rows) for rows in inputs])[:-1])
        return [triton.InferenceResponse([triton.Tensor("links", part)]) for part in parts]
