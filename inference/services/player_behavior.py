"""`playfuse.v1.PlayerBehavior`."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Final

import grpc

from inference.contract.errors import InvalidRequest
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.refusals import Cancelled, Closed, DeadlineMissed, Overloaded, QueueFull, Refused
from inference.transport import workers

if TYPE_CHECKING:
    from inference.batching import Batcher
    from inference.contract.artifact import Manifest
    from inference.metrics import Metrics
    from inference.settings import Limits
    from inference.transport.codec import Codec

SERVICE: Final = pb.DESCRIPTOR.services_by_name["PlayerBehavior"].full_name
PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Trailing metadata that tells a client's retry policy how long to wait (gRFC A6)."""
_OVERLOAD_PUSHBACK_MS: Final = 100

_LOG = logging.getLogger(__name__)
_STATUS: Final = {
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineMissed: grpc.StatusCode.DEADLINE_EXCEEDED,
    Cancelled: grpc.StatusCode.CANCELLED,
    Closed: grpc.StatusCode.UNAVAILABLE,
}


class PlayerBehaviorService:
    """Takes and gives bytes: the codec alone knows the messages, so that every fault in them is a proper status."""

    def __init__(self, codec: Codec, batcher: Batcher, metrics: Metrics, *, manifest: Manifest, limits: Limits) -> None:
        self._codec = codec
        self._batcher = batcher
        self._metrics = metrics
        self._max_wait_seconds = limits.max_wait_seconds
        self._description = _describe(manifest, limits).SerializeToString()
        self._hold_from_seconds = math.inf
        self._refuse = threading.Event()

    def add_to(self, server: grpc.Server) -> None:
        """Register the methods."""
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Predict": grpc.unary_unary_rpc_method_handler(self.predict),
            "DescribeModel": grpc.unary_unary_rpc_method_handler(self.describe_model),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_registered_method_handlers(SERVICE, handlers)

    def hold_new(self) -> float:
        """From now on: calls that come are held, those that came before are still answered. The moment of now."""
        self._hold_from_seconds = time.monotonic()
        return self._hold_from_seconds

    def refuse_held(self) -> None:
        """Tell the held calls, and all that still come, that the server is UNAVAILABLE."""
        self._refuse.set()

    def predict(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """`Predict`."""
        arrival = workers.current()
        metrics = self._metrics
        code = "INTERNAL"
        try:
            reply = self._predict(message, context, arrival)
            code = "OK"
            return reply
        except InvalidRequest as error:
            code = "INVALID_ARGUMENT"
            metrics.rejected["invalid"].add()
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Refused as refusal:
            status = _STATUS[type(refusal)]
            code = status.name
            metrics.rejected[refusal.reason].add()
            if isinstance(refusal, QueueFull):
                context.set_trailing_metadata(((PUSHBACK_KEY, str(refusal.retry_after_ms)),))
            context.abort(status, str(refusal))
        except Exception:  # a fault of ours: the log has it, the caller gets no insight into the server
            _LOG.exception("a call failed")
            context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log tells more")
        finally:
            metrics.request_seconds["Predict", code].observe(time.monotonic() - arrival.arrived_seconds)

    def describe_model(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """`DescribeModel`. Its request has no fields, so whatever bytes come are fields of a later version."""
        arrived_seconds = workers.current().arrived_seconds
        self._metrics.request_seconds["DescribeModel", "OK"].observe(time.monotonic() - arrived_seconds)
        return self._description

    def _predict(self, message: bytes, context: grpc.ServicerContext, arrival: workers.Arrival) -> bytes:
        if arrival.overloaded:
            raise Overloaded(_OVERLOAD_PUSHBACK_MS)
        if arrival.arrived_seconds >= self._hold_from_seconds:
            self._refuse.wait(self._max_wait_seconds)
            msg = "the server is shutting down"
            raise Closed(msg)
        request = self._codec.decode(message)
        left_seconds = min(context.time_remaining(), self._max_wait_seconds)
        response = self._batcher.submit(
            request,
            arrived_seconds=arrival.arrived_seconds,
            deadline_seconds=time.monotonic() + left_seconds,
            is_wanted=context.is_active,
        )
        return self._codec.encode(response)


def _describe(manifest: Manifest, limits: Limits) -> pb.DescribeModelResponse:
    return pb.DescribeModelResponse(
        model_name=manifest.name,
        model_version=manifest.version,
        features=manifest.features,
        behaviours=[
            pb.BehaviourDescription(
                name=behaviour.name,
                kind=behaviour.kind.value,
                unit=behaviour.unit,
                description=behaviour.description,
                prior=manifest.priors[behaviour.name],
            )
            for behaviour in manifest.behaviours
        ],
        synthetic=manifest.synthetic,
        max_rows_per_request=limits.max_rows_per_request,
    )
