"""What was served last, in a small file beside the models, so that a restart goes on with it."""

from __future__ import annotations

import json
import logging
import threading
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.contract import staging
from inference.contract.errors import PlayfuseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATE_FILE: Final = ".playfuse-serving.json"
_LOG = logging.getLogger(__name__)


class Share(BaseModel):
    """A version that gets a part of the traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    percent: float = Field(ge=0, le=100)


class ModelServing(BaseModel):
    """What one model was served as."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    live: str = Field(default="", description="version; empty: unloaded on purpose")
    previous: str = Field(default="", description="version to go back to")
    reads: int = Field(default=0, ge=0, description="how often a version was read to be made live")
    canary: Share | None = None
    shadow: Share | None = None


class Serving(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=1, ge=1, le=1)
    models: dict[str, ModelServing] = {}


class StateFile:
    """Reads and writes it. A server that cannot write it goes on serving, and says so.

    Args:
        path: of it.
        listener: hears what is served, in the same order, whether or not it could be written.
    """

    def __init__(self, path: Path, listener: Callable[[Serving], None] = lambda _: None) -> None:
        self._path = path
        self._listener = listener
        self._lock = threading.Lock()
        self.fault = ""
        """Why the last state is not on the disk; empty where it is."""

    def read(self) -> Serving:
        """What was written last; nothing where there is no file.

        Raises:
            PlayfuseError: the file is there and says nothing that can be understood.
        """
        try:
            return Serving.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Serving()
        except (OSError, ValidationError) as error:
            raise PlayfuseError(
                str(self._path),
                got=str(error).partition("\n")[0],
                expected="what was served last",
                fix="Mend it, or remove it: then the newest version of each model is served.",
            ) from error

    def save(self, now: Callable[[], Serving], *, create: bool = True) -> None:
        """Write what is served, whole or not at all.

        Args:
            now: tells it; asked in turn, so that of two writers the later one has the later state.
            create: whether to write it where no file is yet.
        """
        with self._lock:
            serving = now()
            if create or self._path.exists():
                self._write(serving)
            self._listener(serving)

    def _write(self, serving: Serving) -> None:
        content = json.dumps(serving.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
        try:
            staging.put_file(self._path, content.encode())
            self.fault = ""
        except OSError as error:
            self.fault = f"{self._path} cannot be written ({error.strerror or error}): a restart will not know of it"
            _LOG.error("%s", self.fault)
