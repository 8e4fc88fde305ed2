"""Locust load on a playfuse server: lobbies, single players and raw histories at once.

locust -f loadtests/locustfile.py --headless -u 16 -r 16 -t 15s --host 127.0.0.1:50051 --only-summary
"""

import sys
from pathlib import Path

import grpc.experimental.gevent

# Before any channel exists: gRPC's own threads would otherwise block gevent's loop, and every user with it.
grpc.experimental.gevent.init_gevent()
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests.users import HistoryUser, LobbyUser, SinglePlayerUser  # noqa: E402

__all__ = ["HistoryUser", "LobbyUser", "SinglePlayerUser"]
