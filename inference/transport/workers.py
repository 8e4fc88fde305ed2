"""The threads that carry grpcio's calls: a leaner pool than the standard one, and one that never grows without bound.

`concurrent.futures.ThreadPoolExecutor` gives each call a future with a condition variable that nobody waits on, and its
queue has no end. Here the queue is bounded: a call that comes when it is full goes to one extra thread, whose calls see
`current().overloaded` and refuse themselves at once with a proper status: overload can neither use up memory nor
delay the calls that were accepted.

grpcio hands a call over when its headers are there, and the thread then waits for the message. A caller that never
sends one would keep the thread for as long as it likes, and a few of them all threads: such calls are ended.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent import futures
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGE_SECONDS = 2.0
"""From a call's headers to the end of its message, at most."""

_LOG = logging.getLogger(__name__)


class Arrival:
    """How a call came in.

    Attributes:
        arrived_seconds: `time.monotonic` when the transport handed it over.
        overloaded: too many calls wait: refuse this one.
        is_read: whether its message is there.
    """

    def __init__(self, *, overloaded: bool) -> None:
        self.arrived_seconds = time.monotonic()
        self.overloaded = overloaded
        self.is_read = False


_running = threading.local()


def current() -> Arrival:
    """The call that runs on this thread, whose message is there; on a thread that is no worker, one that has just
    arrived.
    """
    arrival: Arrival = getattr(_running, "call", None) or Arrival(overloaded=False)
    arrival.is_read = True
    return arrival


class _Call(Arrival, futures.Future[Any]):
    """One call. Of a future it is only what grpcio uses: a callback once it is over."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], *, overloaded: bool) -> None:
        # Deliberately without the future's own condition variable: that is what makes this pool lean.
        Arrival.__init__(self, overloaded=overloaded)
        self._function = function
        self._arguments = arguments
        self._lock = threading.Lock()
        self._over = False
        self.running_since_seconds = math.inf
        self._callback: Callable[[futures.Future[Any]], object] | None = None

    def add_done_callback(self, fn: Callable[[futures.Future[Any]], object]) -> None:
        with self._lock:
            if not self._over:
                self._callback = fn
                return
        fn(self)

    def end(self) -> None:
        """Cancel it, if it is one of grpcio's: the thread that waits for its message goes on."""
        for argument in self._arguments:
            if (call := getattr(argument, "call", None)) is not None:  # as `ServicerContext.cancel` does it
                call.cancel()

    def run(self) -> None:
        _running.call = self
        self.running_since_seconds = time.monotonic()
        try:
            self._function(*self._arguments)
        except Exception:  # grpcio turns a handler's exceptions into statuses; this would be one of its own
            _LOG.exception("a call ended in an exception")
        finally:
            _running.call = None
            with self._lock:
                self._over = True
                callback = self._callback
            if callback is not None:
                callback(self)


class Workers(futures.Executor):
    """A fixed number of threads that take calls in order of arrival.

    Args:
        threads: how many calls run at once.
        max_waiting: calls that may wait for a thread; later ones are run by the extra thread, marked overloaded.
        name: of the threads.
    """

    def __init__(self, threads: int, max_waiting: int, *, name: str = "call") -> None:
        self._max_waiting = max_waiting
        self._accepted: SimpleQueue[_Call | None] = SimpleQueue()
        self._refused: SimpleQueue[_Call | None] = SimpleQueue()
        # A set changes as a whole under Python's global lock: cheaper than a counter with a lock of its own.
        self._unfinished: set[_Call] = set()
        self._threads = [
            threading.Thread(target=self._work, args=(queue,), name=f"{name}-{number}", daemon=True)
            for number, queue in enumerate([self._accepted] * threads + [self._refused])
        ]
        self._shut_down = threading.Event()
        watch = threading.Thread(target=self._end_silent_calls, name=f"{name}-watch", daemon=True)
        for thread in (*self._threads, watch):
            thread.start()

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread now."""
        return self._accepted.qsize()

    @property
    def running(self) -> int:
        """Calls that threads are handling now."""
        return len(self._unfinished) - self._accepted.qsize()

    @property
    def unfinished(self) -> int:
        """Calls that wait or are being handled now."""
        return len(self._unfinished)

    def has_unfinished(self, *, before_seconds: float) -> bool:
        """Whether a call that arrived before that moment (`time.monotonic`) is not over yet."""
        return any(call.arrived_seconds < before_seconds for call in list(self._unfinished))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Run `fn(*args)` on the next free thread; keywords are not supported.

        The future it returns knows `add_done_callback` only.
        """
        if kwargs:
            msg = f"keyword arguments are not supported: {sorted(kwargs)}"
            raise TypeError(msg)
        overloaded = self._accepted.qsize() >= self._max_waiting
        call = _Call(fn, args, overloaded=overloaded)
        self._unfinished.add(call)
        (self._refused if overloaded else self._accepted).put(call)
        return call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end once they have run what was submitted before. Nothing is ever cancelled."""
        for _ in self._threads[:-1]:
            self._accepted.put(None)
        self._refused.put(None)
        self._shut_down.set()
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self, queue: SimpleQueue[_Call | None]) -> None:
        while (call := queue.get()) is not None:
            call.run()
            self._unfinished.discard(call)
            # Without this the thread would keep the last call's request and reply alive until the next call comes.
            del call

    def _end_silent_calls(self) -> None:
        while not self._shut_down.wait(MESSAGE_SECONDS / 4):
            began_before = time.monotonic() - MESSAGE_SECONDS
            for call in list(self._unfinished):
                if not call.is_read and call.running_since_seconds < began_before:
                    call.end()
