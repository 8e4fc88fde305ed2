"""Exits 0 when the server at ADDRESS says SERVING (grpc.health.v1), otherwise 1 with the reason on standard error.

With PLAYFUSE_CLIENT_TLS_CA (and …_CERTIFICATE, …_KEY, …_SERVER_NAME where they are needed) it speaks TLS.
"""

import os
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference.contract.errors import PlayfuseError
from inference.security.channel import ClientTls, connect

PREFIX = "PLAYFUSE_CLIENT_TLS_"


def tls() -> ClientTls | None:
    """What the environment says of TLS; none: plain text."""
    ca, certificate, key = (os.environ.get(PREFIX + name) for name in ("CA", "CERTIFICATE", "KEY"))
    if not ca:
        return None
    return ClientTls(
        Path(ca),
        Path(certificate) if certificate else None,
        Path(key) if key else None,
        os.environ.get(f"{PREFIX}SERVER_NAME", ""),
    )


def main(address: str) -> int:
    """Ask once; 3 seconds at most."""
    try:
        with connect(address, tls()) as channel:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
    except grpc.RpcError as error:
        print(f"{address}: {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    except PlayfuseError as error:
        print(error, file=sys.stderr)
        return 1
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        print(f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
