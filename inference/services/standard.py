"""`grpc.health.v1.Health` and `grpc.reflection.v1alpha`, on threads of their own.

A probe must be answered while every calling thread is busy, and a reflection stream that is left open must not take one
of them away.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

HEALTH_SERVICE: Final[str] = health.SERVICE_NAME
REFLECTION_SERVICE: Final[str] = reflection.SERVICE_NAME
_REFLECTION_THREADS: Final = 2


class _On:
    """A handler that grpcio runs on a pool of our choice: it looks for these two attributes."""

    def __init__(self, pool: ThreadPoolExecutor, handler: Callable[..., Any], *, non_blocking: bool = False) -> None:
        self._handler = handler
        self.experimental_thread_pool = pool
        self.experimental_non_blocking = non_blocking

    def __call__(self, *arguments: Any) -> Any:
        return self._handler(*arguments)


class StandardServices:
    """Health and reflection of one server.

    Args:
        services: full names of the other services, which both tell of.
    """

    def __init__(self, *services: str) -> None:
        self._services = services
        self.is_serving = False
        self._health = health.HealthServicer()
        self._health_pool = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._reflection_pool = ThreadPoolExecutor(_REFLECTION_THREADS, thread_name_prefix="reflection")
        self._set(health_pb2.HealthCheckResponse.NOT_SERVING)

    def add_to(self, server: grpc.Server) -> None:
        """Register the methods."""
        # Watch holds no thread while it waits for changes.
        watch = _On(self._health_pool, self._health.Watch, non_blocking=True)
        health_handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(
                _On(self._health_pool, self._health.Check),
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                watch,
                request_deserializer=health_pb2.HealthCheckRequest.FromString,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
        }
        reflect = reflection.ReflectionServicer((*self._services, HEALTH_SERVICE, REFLECTION_SERVICE))
        reflection_handlers = {
            "ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(
                _On(self._reflection_pool, reflect.ServerReflectionInfo),
                request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
                response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
            )
        }
        server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(HEALTH_SERVICE, health_handlers),
                grpc.method_handlers_generic_handler(REFLECTION_SERVICE, reflection_handlers),
            )
        )

    def serving(self) -> None:
        """Tell balancers and probes that calls are welcome."""
        self.is_serving = True
        self._set(health_pb2.HealthCheckResponse.SERVING)

    def shutting_down(self) -> None:
        """Tell them that they are not, for good."""
        self.is_serving = False
        self._health.enter_graceful_shutdown()

    def close(self) -> None:
        """Let the threads end; after the server has stopped."""
        self._health_pool.shutdown()
        self._reflection_pool.shutdown()

    def _set(self, status: int) -> None:
        for service in ("", *self._services):
            self._health.set(service, status)
