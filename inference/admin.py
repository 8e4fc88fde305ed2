"""The admin's server: a port and threads of its own, so that a version can be read while all calling threads work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import grpc

from inference.pb.playfuse.v1.model_admin_pb2_grpc import add_ModelAdminServicer_to_server
from inference.services.model_admin import SERVICE, ModelAdmin
from inference.services.standard import Reflection
from inference.transport.grpcio import cannot_listen
from inference.transport.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import ThreadPoolExecutor

    from inference.repository.repository import Repository

_THREADS: Final = 4
_MAX_CALLS: Final = 64
_MAX_MESSAGE_BYTES: Final = 64 * 1024


class AdminServer:
    """`ModelAdmin` and reflection.

    Args:
        repository: to change.
        address: `host:port` to listen on; port 0 takes any free one.
        interceptors: what every call goes through first: the check of roles.
        reuse_port: whether somebody holds the port for it (`supervision.port`).

    Raises:
        PlayfuseError: it cannot be listened on.
    """

    def __init__(
        self,
        repository: Repository,
        address: str,
        *,
        interceptors: Sequence[grpc.ServerInterceptor] = (),
        reuse_port: bool = False,
    ) -> None:
        # All threads from the start, not one more whenever two calls meet: a count that grows later would look like a
        # leak. And a process that ends waits for none of them, whatever file they wait for.
        self._workers = Workers(_THREADS, _MAX_CALLS, name="admin")
        self._server = grpc.server(
            cast("ThreadPoolExecutor", self._workers),
            interceptors=list(interceptors),
            options=[("grpc.so_reuseport", int(reuse_port)), ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)],
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        add_ModelAdminServicer_to_server(ModelAdmin(repository), self._server)
        self._reflection = Reflection(SERVICE)
        self._server.add_generic_rpc_handlers((self._reflection,))
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise cannot_listen(address, "--admin-port") from error

    def start(self) -> None:
        """Take calls."""
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Take no more; returns when those under way are over.

        Args:
            grace_seconds: time to answer them; a change that takes longer is made all the same, for nobody.
        """
        self._server.stop(grace_seconds).wait()
        self._workers.shutdown()
        self._reflection.close()
