"""Eight teachers in KServe's Python SDK, over gRPC.

The SDK's gRPC server listens on all interfaces and cannot be told otherwise, so its address is changed on the way in.
It stands alone here: the HTTP server that `kserve.ModelServer` starts beside it is not asked for anything.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc.server import GRPCServer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from benchmarks.peers.apps.teacher import Teacher, arguments

if TYPE_CHECKING:
    from pathlib import Path

_MESSAGE_BYTES = 8 * 2**20
_THREADS = 4  # the SDK's default


class TeacherModel(Model):  # type: ignore[misc]
    """Runs one teacher."""

    def __init__(self, model: Path) -> None:
        super().__init__(model.stem)
        self._teacher = Teacher(model)
        self.ready = True

    async def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> Any:
        """One request."""
        links = self._teacher.links(payload.inputs[0].as_numpy())
        output = InferOutput("links", list(links.shape), "FP32")
        output.set_data_from_numpy(links, binary_data=True)
        return InferResponse(payload.id, self.name, [output])


def on_loopback_only() -> None:
    """Every port that `grpc.aio` opens in this process is one of 127.0.0.1."""
    # `grpc.aio.Server` is only the interface of what `grpc.aio.server` makes.
    implementation: Any = type(grpc.aio.server())
    opens = implementation.add_insecure_port

    def add_insecure_port(self: grpc.aio.Server, address: str) -> int:
        port: int = opens(self, f"127.0.0.1:{address.rpartition(':')[2]}")
        return port

    implementation.add_insecure_port = add_insecure_port


async def main() -> None:
    told = arguments()
    on_loopback_only()
    logging.getLogger("kserve").setLevel(logging.WARNING)
    models = ModelRepository()
    for model in sorted(told.models.glob("*.onnx")):
        models.update(TeacherModel(model))
    plane = DataPlane(models)
    limits = dict.fromkeys(("grpc_max_send_message_length", "grpc_max_receive_message_length"), _MESSAGE_BYTES)
    await GRPCServer(told.port, plane, ModelRepositoryExtension(models), kwargs=limits).start(_THREADS)


if __name__ == "__main__":
    asyncio.run(main())
