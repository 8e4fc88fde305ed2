"""A teacher as a model of MLServer: its settings name this class and the ONNX file."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

from benchmarks.peers.apps.teacher import Teacher


class TeacherModel(MLModel):  # type: ignore[misc]
    """Runs one teacher."""

    async def load(self) -> bool:
        """Open the session."""
        self._teacher = Teacher(self.settings.parameters.uri)
        return True

    async def predict(self, payload: Any) -> Any:
        """One request, or what MLServer has batched into one."""
        links = self._teacher.links(NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("links", links)])
