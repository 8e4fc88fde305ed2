"""Triton's client as seen from a test."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROCESS = Path(__file__).with_name("triton_process.py")


class Refusal(Exception):  # noqa: N818 - what the client raised, as a test sees it
    """The client raised: the status and its text."""

    def __init__(self, status: str, message: str) -> None:
        self.status = status.removeprefix("StatusCode.")
        self.message = message
        super().__init__(f"{status}: {message}")


class TritonClient:
    """Calls methods of `tritonclient.grpc.InferenceServerClient` by name."""

    def __init__(self, commands: IO[str], outcomes: IO[str]) -> None:
        self._commands = commands
        self._outcomes = outcomes

    def call(self, method: str, **options: Any) -> Any:
        self._commands.write(json.dumps([method, options]) + "\n")
        self._commands.flush()
        outcome = json.loads(self._outcomes.readline())
        if "status" in outcome:
            raise Refusal(outcome["status"], outcome["message"])
        return outcome["result"]

    def infer(self, inputs: dict[str, Any], *, outputs: list[str] | None = None, **options: Any) -> Any:
        defaults = {"model_name": "testnet", "dtype": "float32"}
        return self.call("infer", inputs=inputs, outputs=outputs, **{**defaults, **options})


@contextlib.contextmanager
def triton_client(address: str) -> Iterator[TritonClient]:
    """Triton's client, connected to a server."""
    command = [sys.executable, str(_PROCESS), address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield TritonClient(process.stdin, process.stdout)
        process.stdin.close()
        assert process.wait(30) == 0
