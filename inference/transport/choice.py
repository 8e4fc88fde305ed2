"""Which transport carries the calls."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Protocol

from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

    from inference.calls import Answering, Method, ScoringMethod
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


def choose(asked: str, *, tls: bool = False) -> str:
    """`native` or `grpcio`.

    Args:
        asked: one of them, or `auto`: native where it is installed and can do what is wanted.
        tls: whether connections are encrypted, which native does not do.

    Raises:
        PlayfuseError: native is asked for and cannot be.
    """
    if asked == "grpcio" or (asked == "auto" and (tls or not is_native_installed())):
        return "grpcio"
    if tls:
        raise PlayfuseError(
            "--transport", got="native with TLS", expected="native on a trusted network without TLS", fix="Use grpcio."
        )
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
) -> Transport:
    """The transport of that name (see `choose`), ready to be bound."""
    if name == "native":
        from inference.transport.native import NativeTransport  # its package is optional

        return NativeTransport(methods, scoring, answering, pool, settings)
    from inference.transport.grpcio import GrpcioTransport

    return GrpcioTransport(methods, scoring, answering, pool, settings)
