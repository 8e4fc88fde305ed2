"""`grpc.health.v1.Health` and `grpc.reflection.v1alpha`, on threads of their own.

A probe must be answered while every calling thread is busy, or waits for a message that does not come (`Workers`), and
a reflection stream that is left open must not take one of them away.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from inference.transport import workers
from inference.transport.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from typing import NoReturn

HEALTH_SERVICE: Final[str] = health.SERVICE_NAME
REFLECTION_SERVICE: Final[str] = reflection.SERVICE_NAME
_HEALTH_THREADS: Final = 8
_MAX_PROBES: Final = 512
_MAX_REFLECTION_STREAMS: Final = 16
"""Open at once. Each has a thread, and counts among grpcio's concurrent calls beside the calls that matter."""


class _On:
    """A handler that grpcio runs on a pool of our choice: it looks for these two attributes."""

    def __init__(self, pool: Executor, handler: Callable[..., Any], *, non_blocking: bool = False) -> None:
        self._handler = handler
        self.experimental_thread_pool = pool
        self.experimental_non_blocking = non_blocking

    def __call__(self, *arguments: Any) -> Any:
        return self._handler(*arguments)


# Messages are parsed here rather than by grpcio: what does not parse would be INTERNAL there, and a stream with such a
# message would never end: it would hold its thread and the end of the whole server.


def _parse(message_type: Any, message: bytes, context: grpc.ServicerContext) -> Any:
    try:
        return message_type.FromString(message)
    except DecodeError:
        name = message_type.DESCRIPTOR.full_name
        context.abort(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"request: got {len(message)} bytes that do not parse, expected a {name}.",
        )


def _parsing(message_type: Any, handler: Callable[..., Any]) -> Callable[..., Any]:
    def handle(message: bytes, context: grpc.ServicerContext, *others: Any) -> Any:
        workers.current()  # it has its message
        return handler(_parse(message_type, message, context), context, *others)

    return handle


def _parsing_each(message_type: Any, servicer: reflection.ReflectionServicer) -> Callable[..., Any]:
    def handle(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        parsed = (_parse(message_type, message, context) for message in messages)
        return servicer.ServerReflectionInfo(parsed, context)

    return handle


class _CountingPool(ThreadPoolExecutor):
    """Knows what it has been given and is not over yet."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._unfinished: set[Future[Any]] = set()  # changes as a whole: see `transport.workers`

    @property
    def unfinished(self) -> int:
        """Calls that wait or are being handled now."""
        return len(self._unfinished)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future


class Reflection(grpc.GenericRpcHandler):
    """Reflection of one server: a few streams at once, further ones are refused.

    Args:
        services: full names of the other services.
    """

    def __init__(self, *services: str) -> None:
        self._pool = _CountingPool(_MAX_REFLECTION_STREAMS, "reflection")
        self._refusals = ThreadPoolExecutor(1, thread_name_prefix="reflection-refusal")
        servicer = reflection.ReflectionServicer((*services, REFLECTION_SERVICE))
        self._answer: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            _On(self._pool, _parsing_each(reflection_pb2.ServerReflectionRequest, servicer)),
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        self._refuse: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            _On(self._refusals, _too_many_streams)
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """See `grpc.GenericRpcHandler`; grpcio looks up one call after the other."""
        if handler_call_details.method != f"/{REFLECTION_SERVICE}/ServerReflectionInfo":
            return None
        return self._answer if self._pool.unfinished < _MAX_REFLECTION_STREAMS else self._refuse

    def close(self) -> None:
        """Let the threads end; after the server has stopped."""
        self._pool.shutdown()
        self._refusals.shutdown()


def _too_many_streams(_messages: object, context: grpc.ServicerContext) -> NoReturn:
    context.abort(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"reflection: got a stream beside {_MAX_REFLECTION_STREAMS} open ones, expected no more than those at once. "
        "Close one that is done, or try again later.",
    )


class StandardServices:
    """Health and reflection of one server.

    Args:
        services: full names of the other services, which both tell of.
    """

    def __init__(self, *services: str) -> None:
        self._services = services
        self.is_serving = False
        self._health = health.HealthServicer()
        self._health_pool = Workers(_HEALTH_THREADS, _MAX_PROBES, name="health")
        self._reflection = Reflection(*services, HEALTH_SERVICE)
        self._set(health_pb2.HealthCheckResponse.NOT_SERVING)

    def add_to(self, server: grpc.Server) -> None:
        """Register the methods."""
        # Watch holds no thread while it waits for changes.
        parsing = _parsing(health_pb2.HealthCheckRequest, self._health.Watch)
        watch = _On(self._health_pool, parsing, non_blocking=True)
        health_handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(
                _On(self._health_pool, _parsing(health_pb2.HealthCheckRequest, self._health.Check)),
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                watch,
                response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(HEALTH_SERVICE, health_handlers), self._reflection)
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
        self._reflection.close()

    def _set(self, status: int) -> None:
        for service in ("", *self._services):
            self._health.set(service, status)
