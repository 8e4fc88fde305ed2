"""A real Chromium without a window, driven over a pipe by its DevTools protocol: no port, no library, no download.

https://chromedevtools.github.io/devtools-protocol
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import subprocess
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from tests.support.tools import tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LIMIT_SECONDS: Final = 60.0
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
)
# DevTools speaks on the descriptors 3 and 4, which Python cannot give to a child by number.
_ON_3_AND_4: Final = ("bash", "-c", 'exec "${@:3}" 3<&"$1" 4>&"$2"', "bash")


@dataclass(frozen=True, slots=True)
class Shown:
    """A page as a reader has it.

    Attributes:
        faults: what the console said, and exceptions.
        requests: URLs that were asked for, the page's own included.
        screenshot: PNG of the whole page.
    """

    faults: list[str]
    requests: list[str]
    screenshot: bytes
    _answers: dict[str, Any]

    def __getitem__(self, expression: str) -> Any:
        return self._answers[expression]


class Browser:
    """See the module's docstring.

    Args:
        commands: the pipe that it reads.
        replies: the pipe that it writes.
    """

    def __init__(self, commands: IO[bytes], replies: IO[bytes]) -> None:
        self._commands = commands
        self._replies = replies
        self._unread = b""
        self._numbers = itertools.count(1)

    def show(self, page: Path, *, width_px: int, dark: bool, questions: tuple[str, ...] = ()) -> Shown:
        """Open a page, wait until it is loaded, ask it questions.

        Args:
            page: an HTML file.
            width_px: of the window.
            dark: whether the reader prefers a dark page.
            questions: JavaScript expressions; `Shown[question]` is the answer.
        """
        events: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", events, url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", events, targetId=target, flatten=True)["sessionId"]

        def ask(method: str, **parameters: Any) -> Any:
            return self._ask(method, events, session, **parameters)

        for domain in ("Page", "Runtime", "Log", "Network"):
            ask(f"{domain}.enable")
        ask("Emulation.setDeviceMetricsOverride", width=width_px, height=800, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        ask("Emulation.setEmulatedMedia", features=[scheme])
        ask("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in events):
            events.append(self._receive())
        answers = {
            question: ask("Runtime.evaluate", expression=question, returnByValue=True)["result"]["value"]
            for question in questions
        }
        image = ask("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        self._ask("Target.closeTarget", [], targetId=target)
        faults = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return Shown(
            faults=[json.dumps(event["params"]) for event in events if event["method"] in faults],
            requests=[
                event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
            ],
            screenshot=base64.b64decode(image),
            _answers=answers,
        )

    def _ask(self, method: str, events: list[dict[str, Any]], session: str = "", **parameters: Any) -> dict[str, Any]:
        """What it answers; the events that come before the answer are noted."""
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        self._commands.write(json.dumps(command).encode() + b"\0")
        self._commands.flush()
        while (message := self._receive()).get("id") != number:
            if "method" in message:
                events.append(message)
        assert "result" in message, message
        result: dict[str, Any] = message["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + _LIMIT_SECONDS
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self._replies.fileno(), 1 << 20) if ready else b""
            assert more, "chromium said nothing more"
            self._unread += more
        first, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message


@contextlib.contextmanager
def running_browser(folder: Path) -> Iterator[Browser]:
    """Chromium with a fresh profile in `folder`, stopped in the end."""
    commands, replies = os.pipe(), os.pipe()
    log = folder / "chromium.log"
    launch = [*_ON_3_AND_4, str(commands[0]), str(replies[1]), tool("chromium"), *_FLAGS]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*launch, f"--user-data-dir={folder / 'profile'}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(commands[0], replies[1]),
        )
    os.close(commands[0])
    os.close(replies[1])
    try:
        with os.fdopen(commands[1], "wb") as sending, os.fdopen(replies[0], "rb", buffering=0) as receiving:
            yield Browser(sending, receiving)
            # Asked to leave, it stops its own children as well.
            sending.write(b'{"id":0,"method":"Browser.close"}\0')
    finally:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
