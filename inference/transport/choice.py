"""Which transport carries the calls."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Protocol

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import grpc

    from inference.calls import Answering, Method, ScoringMethod
    from inference.security.guard import Access
    from inference.settings import ServerSettings
    from inference.transport.workers import Workers


class Transport(Protocol):
    """Carries unary methods, and whatever else is added to `server` before the start."""

    @property
    def name(self) -> str:
        """As `--transport` has it."""
        ...

    @property
    def server(self) -> grpc.Server:
        """Takes further methods before the start."""
        ...

    @property
    def waiting_rows(self) -> int:
        """Players that wait here, not in a model's batcher."""
        ...

    @property
    def calls_in_flight(self) -> int:
        """Calls that are being handled now."""
        ...

    def bind(self, address: str) -> int:
        """Listen on `host:port`; the port.

        Raises:
            PlayfuseError: that cannot be listened on.
        """
        ...

    def start(self) -> None:
        """Take calls."""
        ...

    def drain(self, grace_seconds: float) -> bool:
        """Stop taking calls, answer all that were taken, close; whether all were answered in time."""
        ...

    def close(self) -> None:
        """End at once."""
        ...


def is_native_installed() -> bool:
    """Whether the native transport's package is there."""
    return importlib.util.find_spec("pygrpc_native") is not None


def choose(settings: ServerSettings) -> str:
    """`native` or `grpcio`; `auto` is native where it is installed and can do what is wanted.

    Raises:
        PlayfuseError: native is asked for and is not installed.
    """
    asked = settings.transport
    if asked == "grpcio" or (asked == "auto" and (settings.needs_grpcio or not is_native_installed())):
        return "grpcio"
    if not is_native_installed():
        raise PlayfuseError(
            "--transport",
            got="native, which is not installed",
            expected="the package pygrpc-native",
            fix="pip install 'playfuse[native]', or use --transport grpcio.",
        )
    return "native"


def build(
    name: str,
    methods: Iterable[Method],
    scoring: Iterable[ScoringMethod],
    answering: Answering,
    pool: Workers,
    settings: ServerSettings,
    interceptors: Sequence[grpc.ServerInterceptor] = (),
    access: Access | None = None,
) -> Transport:
    """The transport of that name (see `choose`), ready to be bound.

    Args:
        name: of the transport.
        methods: answered one by one.
        scoring: answered in runs together.
        answering: answers and counts them.
        pool: the calling threads.
        settings: limits, TLS.
        interceptors: what every call that grpcio carries goes through first.
        access: the same for what the native transport carries by itself.
    """
    if name == "native":
        from inference.transport.native import NativeTransport  # its package is optional

        return NativeTransport(methods, scoring, answering, pool, settings, interceptors, access)
    from inference.transport.grpcio import GrpcioTransport

    return GrpcioTransport(methods, scoring, answering, pool, settings, interceptors)
