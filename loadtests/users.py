"""The simulated callers: each holds its own connection, checks every reply and reports it to Locust."""

from __future__ import annotations

import itertools
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final, cast

import grpc
import numpy as np
from locust import User, constant, task

from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.pb.playfuse.v1.player_behavior_pb2_grpc import PlayerBehaviorStub
from loadtests.players import feature_rows, random_players

if TYPE_CHECKING:
    from locust.env import Environment

_DEADLINE_SECONDS: Final = 5.0
_VARIANTS: Final = 8


class RefusedError(Exception):
    """The call ended with another status than OK."""


class WrongReplyError(Exception):
    """The server answered OK, yet not with what was asked for."""


class PredictUser(User):
    """One caller of `Predict`: its own channel, a handful of prepared requests sent over and over.

    The next request leaves as soon as the reply is there (a closed loop): latencies at saturation tell what these users
    felt, not what more users would have.
    """

    abstract = True
    wait_time = constant(0)
    players_per_request: ClassVar[int]
    label: ClassVar[str]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # A connection for each user: gRPC would share one between all channels to the same server.
        self._channel = grpc.insecure_channel(str(self.host), options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = PlayerBehaviorStub(self._channel)
        self._serial = itertools.count()

    def on_start(self) -> None:
        """Ask what the model takes and prepare the requests."""
        model = self._stub.DescribeModel(pb.DescribeModelRequest(), timeout=_DEADLINE_SECONDS, wait_for_ready=True)
        self._behaviours = [behaviour.name for behaviour in model.behaviours]
        probabilities = [behaviour.kind == "binary" for behaviour in model.behaviours]
        self._upper_bounds = np.where(probabilities, 1.0, np.inf)
        rng = np.random.default_rng()
        self._requests = itertools.cycle([self.request(rng, tuple(model.features)) for _ in range(_VARIANTS)])

    def on_stop(self) -> None:
        """Close the connection."""
        self._channel.close()

    @abstractmethod
    def request(self, rng: np.random.Generator, features: tuple[str, ...]) -> pb.PredictRequest:
        """A request for `players_per_request` random players; `features` are the model's, in order."""

    @task
    def predict(self) -> None:
        """Send one request; a status other than OK and a wrong reply both count as failures."""
        request = next(self._requests)
        request.request_id = f"load-{id(self):x}-{next(self._serial)}"
        failure: Exception | None = None
        reply_bytes = 0
        start = time.perf_counter()
        try:
            reply = self._stub.Predict(request, timeout=_DEADLINE_SECONDS)
            reply_bytes = reply.ByteSize()
        except grpc.RpcError as error:
            # Status and words alone: Locust lists failures by their text, and gRPC's own holds the time of day.
            call = cast("grpc.Call", error)
            failure = RefusedError(f"{call.code().name}: {call.details()}")
        elapsed_ms = (time.perf_counter() - start) * 1_000
        if failure is None:
            failure = self._fault(request, reply)
        self.environment.events.request.fire(
            request_type="grpc",
            name=self.label,
            response_time=elapsed_ms,
            response_length=reply_bytes,
            exception=failure,
            context={},
        )

    def _fault(self, request: pb.PredictRequest, reply: pb.PredictResponse) -> WrongReplyError | None:
        expected = (request.request_id, self.players_per_request, self._behaviours, False)
        got = (reply.request_id, reply.rows, list(reply.behaviours), reply.degraded)
        if got != expected:
            return WrongReplyError(f"got id, rows, behaviours, degraded {got}, expected {expected}")
        values = np.frombuffer(reply.values, dtype="<f4")
        if values.size != self.players_per_request * len(self._behaviours):
            return WrongReplyError(f"got {values.size} values for {reply.rows} players")
        matrix = values.reshape(self.players_per_request, -1)
        if not (np.isfinite(matrix).all() and (matrix >= 0).all() and (matrix <= self._upper_bounds).all()):
            return WrongReplyError("got values that are not finite, below 0, or probabilities above 1")
        return None


class LobbyUser(PredictUser):
    """A matchmaker that scores a whole lobby at once: 64 players as packed float32 rows."""

    weight = 6
    players_per_request = 64
    label = "lobby of 64, packed rows"

    def request(self, rng: np.random.Generator, features: tuple[str, ...]) -> pb.PredictRequest:
        return _packed(rng, features, self.players_per_request)


class SinglePlayerUser(PredictUser):
    """A game server that asks about one player who has just logged in."""

    weight = 3
    players_per_request = 1
    label = "one player, packed row"

    def request(self, rng: np.random.Generator, features: tuple[str, ...]) -> pb.PredictRequest:
        return _packed(rng, features, self.players_per_request)


class HistoryUser(PredictUser):
    """A game server without a feature store: it sends the player's raw sessions."""

    weight = 1
    players_per_request = 1
    label = "one player, raw sessions"

    def request(self, rng: np.random.Generator, features: tuple[str, ...]) -> pb.PredictRequest:
        histories = [
            pb.SessionHistory(
                start_seconds=player.start_seconds.tolist(), duration_seconds=player.duration_seconds.tolist()
            )
            for player in random_players(rng, self.players_per_request)
        ]
        return pb.PredictRequest(histories=pb.SessionHistories(players=histories))


def _packed(rng: np.random.Generator, features: tuple[str, ...], players: int) -> pb.PredictRequest:
    values = feature_rows(random_players(rng, players), features)
    # A player's first session has no gap before it: that is missing knowledge, which the model imputes.
    return pb.PredictRequest(
        packed_rows=pb.PackedRows(rows=players, values=values.astype("<f4").tobytes()), nan_is_missing=True
    )
