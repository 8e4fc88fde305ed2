"""What a supervisor and a worker tell each other over their socket: one JSON object a line.

The socket is also how each learns of the other's end: the kernel closes it, however a process dies.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from inference.contract.errors import PlayfuseError
from inference.repository.canary import Verdict
from inference.repository.state import Serving
from inference.settings import ServerSettings

if TYPE_CHECKING:
    import socket

_RECEIVE_BYTES: Final = 65_536


class Job(BaseModel):
    """Supervisor → worker, once: what to do.

    Attributes:
        number: which worker it is.
        artifact: what it serves; none where the settings name a folder of models.
        settings: where and how; the port is shared.
        core: the only core it may use; none leaves that to the scheduler.
        serving: what the others serve of that folder; none where nobody has told yet.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["job"] = "job"
    number: int
    artifact: Path | None
    settings: ServerSettings
    core: int | None = None
    serving: Serving | None = None


class Ready(BaseModel):
    """Worker → supervisor: it answers.

    Attributes:
        metrics_url: where its metrics are, on loopback.
        lines: its announcement.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["ready"] = "ready"
    metrics_url: str
    lines: dict[str, str]


class Fault(BaseModel):
    """Worker → supervisor: it cannot start; the fields of a `PlayfuseError`."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["fault"] = "fault"
    where: str
    got: str
    expected: str
    fix: str = ""

    @classmethod
    def of(cls, error: PlayfuseError) -> Fault:
        """From the fault itself."""
        return cls(where=error.where, got=error.got, expected=error.expected, fix=error.fix)

    def error(self) -> PlayfuseError:
        """The fault itself."""
        return PlayfuseError(self.where, got=self.got, expected=self.expected, fix=self.fix)


class Last(BaseModel):
    """Worker → supervisor: it has drained and leaves.

    Attributes:
        metrics: all that it has counted, as its metrics would have shown it.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["last"] = "last"
    metrics: str


class Own(BaseModel):
    """Supervisor → one worker: it decides what is served of the models, from now on."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["own"] = "own"


class Follow(BaseModel):
    """The owner → supervisor → the other workers: what is served from now on.

    Attributes:
        serving: all of it.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["follow"] = "follow"
    serving: Serving


class TakeBack(BaseModel):
    """A worker → supervisor → the owner: a version on trial does too badly there.

    Attributes:
        model: its name.
        version: it.
        verdict: why.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["take_back"] = "take_back"
    model: str
    version: str
    verdict: Verdict


class Released(BaseModel):
    """The owner → supervisor: it drains, and its admin port is closed: another worker may own."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["released"] = "released"


AnyMessage = Job | Ready | Fault | Last | Own | Follow | TakeBack | Released
_MESSAGE: Final[TypeAdapter[AnyMessage]] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="kind")])


def send(line: socket.socket, message: AnyMessage) -> None:
    """Send one.

    Raises:
        OSError: the other end is gone.
    """
    line.sendall(message.model_dump_json().encode() + b"\n")


class Inbox:
    """What has come over a socket.

    Args:
        line: the socket.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._partial = b""
        self.is_closed = False

    def receive(self) -> list[AnyMessage]:
        """Whole messages; waits for bytes where there are none, and notes the end."""
        try:
            content = self._line.recv(_RECEIVE_BYTES)
        except ConnectionError:
            content = b""
        if not content:
            self.is_closed = True
            return []
        *whole, self._partial = (self._partial + content).split(b"\n")
        return [_MESSAGE.validate_json(text) for text in whole]
