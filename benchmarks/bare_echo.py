"""A server that does nothing: what a transport alone costs. `python -m benchmarks.bare_echo REPLY_BYTES TRANSPORT`.

`native`: pygrpc-native's front, set up as the real server sets it up, every event answered at once. `grpcio`: the real
server's options and number of threads; its thread pool is the standard one, as in grpcio's own examples. Both take the
request as bytes and return stored bytes of the size of a real reply.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")  # before gRPC is imported, as `playfuse serve` does

import grpc

from inference.services.player_behavior import SERVICE
from inference.settings import ServerSettings
from inference.transport.grpcio import options as transport_options


def native(reply: bytes) -> None:
    from pygrpc_native import EVENT_CALL, NativeGrpcFront

    methods = [(f"/{SERVICE}/Predict", False)]
    front = NativeGrpcFront("127.0.0.1:0", methods, io_threads=1, call_details=True, metrics=True)
    print(front.bound_port, flush=True)
    front.start()
    while (events := front.recv_batch_details(512)) is not None:
        for event in events:
            if event[0] == EVENT_CALL:
                front.respond(event[1], reply)


def grpcio(reply: bytes) -> None:
    settings = ServerSettings()

    def predict(message: bytes, context: grpc.ServicerContext) -> bytes:
        return reply

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
    server = grpc.server(ThreadPoolExecutor(settings.threads), options=transport_options(settings))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def main() -> None:
    reply = bytes(int(sys.argv[1]))
    {"native": native, "grpcio": grpcio}[sys.argv[2]](reply)


if __name__ == "__main__":
    main()
