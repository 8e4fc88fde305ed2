"""Eight teachers in mosec: a route and a worker process each; packed float32 in, packed float32 out."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from mosec import Runtime, Server, Worker

from benchmarks.peers.apps.teacher import Teacher, arguments

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TeacherWorker(Worker):  # type: ignore[misc]
    """Runs one teacher, which its environment names."""

    def __init__(self) -> None:
        super().__init__()
        self._teacher = Teacher(os.environ["TEACHER"])

    def deserialize(self, data: bytes) -> NDArray[np.float32]:
        """The body of a request: rows of features."""
        return np.frombuffer(data, "<f4").reshape(-1, self._teacher.features)

    def serialize(self, data: NDArray[np.float32]) -> bytes:
        """The body of a reply."""
        return data.tobytes()

    def forward(self, data: Any) -> Any:
        """One request, or a list of them where batching is on."""
        if not isinstance(data, list):
            return self._teacher.links(data)
        links = self._teacher.links(np.concatenate(data))
        return np.split(links, np.cumsum([len(rows) for rows in data])[:-1])


def main() -> None:
    told = arguments()
    # mosec reads the command line itself.
    sys.argv = [sys.argv[0], "--address", "127.0.0.1", "--port", str(told.port), "--log-level", "warning"]
    server = Server()
    server.register_runtime(
        {
            f"/{model.stem}": [
                Runtime(
                    TeacherWorker, max_batch_size=told.batch, max_wait_time=told.wait_ms, env=[{"TEACHER": str(model)}]
                )
            ]
            for model in sorted(told.models.glob("*.onnx"))
        }
    )
    server.run()


if __name__ == "__main__":
    main()
