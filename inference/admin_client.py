"""A small typed client of a server's `ModelAdmin`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, cast

import grpc

from inference.client import CallFailed
from inference.pb.playfuse.v1 import model_admin_pb2 as pb
from inference.pb.playfuse.v1.model_admin_pb2_grpc import ModelAdminStub
from inference.security.channel import authorization, connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_FIXES: Final = {
    grpc.StatusCode.UNAVAILABLE: "Is `playfuse serve --models` running there? It prints its admin address.",
}


class AdminClient:
    """Changes what one server serves.

    Args:
        target: `host:port` of the admin's port.
        timeout_seconds: deadline of each call; reading a large version takes a while.
        token: shown with each call, where the server asks for one; its role has to be admin.
    """

    def __init__(self, target: str, *, timeout_seconds: float = 60.0, token: str = "") -> None:
        self._target = target
        self._timeout_seconds = timeout_seconds
        self._metadata = authorization(token)
        self._channel = connect(target, None, options=[("grpc.enable_retries", 0)])
        self._stub = ModelAdminStub(self._channel)

    def list(self) -> pb.ListModelsResponse:
        """All models. Raises `CallFailed` with the gRPC status and the server's words, as all below."""
        return cast("pb.ListModelsResponse", self._call(self._stub.ListModels, pb.ListModelsRequest()))

    def load(self, name: str, version: str = "") -> pb.LoadVersionResponse:
        """Make a version live, the newest unless told."""
        request = pb.LoadVersionRequest(model_name=name, version=version)
        return cast("pb.LoadVersionResponse", self._call(self._stub.LoadVersion, request))

    def unload(self, name: str) -> pb.UnloadModelResponse:
        """Serve a model no more."""
        request = pb.UnloadModelRequest(model_name=name)
        return cast("pb.UnloadModelResponse", self._call(self._stub.UnloadModel, request))

    def promote(self, name: str) -> pb.PromoteResponse:
        """Make the version on trial live."""
        return cast("pb.PromoteResponse", self._call(self._stub.Promote, pb.PromoteRequest(model_name=name)))

    def rollback(self, name: str) -> pb.RollbackResponse:
        """Make the version before live."""
        return cast("pb.RollbackResponse", self._call(self._stub.Rollback, pb.RollbackRequest(model_name=name)))

    def start_canary(self, name: str, version: str, percent: float) -> pb.StartCanaryResponse:
        """Put a version on trial, or give it another share."""
        request = pb.StartCanaryRequest(model_name=name, version=version, percent=percent)
        return cast("pb.StartCanaryResponse", self._call(self._stub.StartCanary, request))

    def stop_canary(self, name: str) -> pb.StopCanaryResponse:
        """Take it back."""
        request = pb.StopCanaryRequest(model_name=name)
        return cast("pb.StopCanaryResponse", self._call(self._stub.StopCanary, request))

    def start_shadow(self, name: str, version: str, percent: float) -> pb.StartShadowResponse:
        """Have a version answer copies."""
        request = pb.StartShadowRequest(model_name=name, version=version, percent=percent)
        return cast("pb.StartShadowResponse", self._call(self._stub.StartShadow, request))

    def stop_shadow(self, name: str) -> pb.StopShadowResponse:
        """End that."""
        request = pb.StopShadowRequest(model_name=name)
        return cast("pb.StopShadowResponse", self._call(self._stub.StopShadow, request))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)
            name = type(request).__name__.removesuffix("Request")
            fix = _FIXES.get(call.code())
            raise CallFailed(self._target, name, call.code(), call.details() or "", fix=fix) from error
