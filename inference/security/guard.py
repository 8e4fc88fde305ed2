"""Checks the token of every call to the grpcio server, whatever its service and its shape."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from inference.calls import code_of
from inference.refusals import PermissionDenied, Refused, Unauthenticated
from inference.security.tokens import UNAUTHENTICATED, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.calls import Metadata
    from inference.metrics import CallMetrics
    from inference.security.tokens import Tokens

OPEN_TO_ALL: Final = "/grpc.health.v1.Health/"
"""Probes and balancers have no token."""

ADMIN_METHODS: Final = (
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
    "/inference.GRPCInferenceService/TraceSetting",
    "/inference.GRPCInferenceService/LogSettings",
    "/playfuse.v1.ModelAdmin/",
)
"""Methods, and whole services with a slash at the end, that change what is served."""

ALL_METHODS: Final = ("/",)
"""Whatever a port of admins has, what merely tells of it as well."""


class Access:
    """Who may call what.

    Args:
        tokens: those that are valid.
        admin_methods: those that need the role admin: `ADMIN_METHODS` or `ALL_METHODS`.
    """

    def __init__(self, tokens: Tokens, admin_methods: tuple[str, ...] = ADMIN_METHODS) -> None:
        self._tokens = tokens
        self._admin_methods = admin_methods

    def check(self, path: str, metadata: Metadata) -> None:
        """Let a call pass.

        Raises:
            Unauthenticated: it shows no valid token.
            PermissionDenied: its token's role does not go that far.
        """
        if path.startswith(OPEN_TO_ALL):
            return
        role = self._tokens.role_of(metadata)
        if role is None:
            raise Unauthenticated(UNAUTHENTICATED)
        needed = Role.ADMIN if self._is_admin(path) else Role.PREDICT
        if not role.allows(needed):
            msg = f"a token with the role {needed} is needed"
            raise PermissionDenied(msg)

    def _is_admin(self, path: str) -> bool:
        return any(path == known or (known.endswith("/") and path.startswith(known)) for known in self._admin_methods)


class Guard(grpc.ServerInterceptor):
    """The one place that all calls to a grpcio server go through, before a thread or a byte of a message is spent.

    Args:
        access: who may call what.
        metrics: where the others are counted.
    """

    def __init__(self, access: Access, metrics: CallMetrics) -> None:
        self._access = access
        self._metrics = metrics
        # Refusals have a thread of their own: a flood of them cannot use up those of the callers.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="guard")

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See `grpc.ServerInterceptor`."""
        try:
            self._access.check(handler_call_details.method, handler_call_details.invocation_metadata or ())
        except Refused as refused:
            self._metrics.rejected[refused.reason].add()
            name = handler_call_details.method.rpartition("/")[2]
            if (seconds := self._metrics.request_seconds.get((name, code_of(refused).name))) is not None:
                seconds.observe(0.0)  # no thread and no byte of it was waited for
            return self._refusal(refused)
        return continuation(handler_call_details)

    def close(self) -> None:
        """Let the thread end; after the server has stopped."""
        self._pool.shutdown()

    def _refusal(self, refused: Refused) -> grpc.RpcMethodHandler[Any, Any]:
        code = code_of(refused)
        details = str(refused)

        def tell(_requests: object, context: grpc.ServicerContext) -> NoReturn:
            context.abort(code, details)

        tell.experimental_thread_pool = self._pool  # type: ignore[attr-defined]  # grpcio looks for this attribute
        # Of the streaming kind, whatever was called: it answers without waiting for a message.
        return grpc.stream_stream_rpc_method_handler(tell)
