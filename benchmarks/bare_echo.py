"""A grpcio server that does nothing: what the transport alone costs. `python -m benchmarks.bare_echo REPLY_BYTES`.

The same transport options and number of threads as the real server; the method takes the request as bytes and returns
stored bytes of the size of a real reply. Its thread pool is the standard one, as in grpcio's own examples.
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


def main() -> None:
    settings = ServerSettings()
    reply = bytes(int(sys.argv[1]))

    def predict(message: bytes, context: grpc.ServicerContext) -> bytes:
        return reply

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Predict": grpc.unary_unary_rpc_method_handler(predict)}
    server = grpc.server(ThreadPoolExecutor(settings.threads), options=transport_options(settings))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
