"""Eight teachers in LitServe: a route and a worker process each.

LitServe reads JSON; numbers as text would cost it most of its time, so the rows travel as base64 within it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import litserve
import numpy as np

from benchmarks.peers.apps.teacher import Teacher, arguments

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class TeacherAPI(litserve.LitAPI):  # type: ignore[misc]
    """Runs one teacher."""

    def __init__(self, model: Path, batch: int, wait_ms: int) -> None:
        super().__init__(api_path=f"/{model.stem}", max_batch_size=batch, batch_timeout=wait_ms / 1_000)
        self._model = model

    def setup(self, device: str) -> None:
        """In the worker process."""
        self._teacher = Teacher(self._model)

    def decode_request(self, request: dict[str, str]) -> NDArray[np.float32]:
        """Rows of features."""
        return np.frombuffer(b64decode(request["rows"]), "<f4").reshape(-1, self._teacher.features)

    def batch(self, inputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """As they are: requests may differ in rows."""
        return inputs

    def predict(self, x: Any) -> Any:
        """One request, or a list of them where batching is on."""
        if not isinstance(x, list):
            return self._teacher.links(x)
        links = self._teacher.links(np.concatenate(x))
        return np.split(links, np.cumsum([len(rows) for rows in x])[:-1])

    def unbatch(self, output: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """What `predict` has already split."""
        return output

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, str]:
        """The body of a reply."""
        return {"links": b64encode(output.tobytes()).decode()}


def main() -> None:
    told = arguments()
    teachers = [TeacherAPI(model, told.batch, told.wait_ms) for model in sorted(told.models.glob("*.onnx"))]
    server = litserve.LitServer(teachers, accelerator="cpu", devices=1, workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=told.port, num_api_servers=1, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
