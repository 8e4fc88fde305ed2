"""Handing replies over on one core: all of a burst's first, then their sending.

A front has an I/O thread of its own. Where it shares its only core with the thread that answers, each reply that is
handed over wakes it, it takes the core at once, sends that reply and goes back to sleep: two switches of threads per
reply. As a batch thread (SCHED_BATCH, sched(7)) it leaves the core to whom it finds there. It must not be one for
longer than the replies of one burst take: it would wait behind everything else that runs on the core too.
"""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)
_NO_PRIORITY: Final = os.sched_param(0)


def handover(thread_name: str) -> AbstractContextManager[object]:
    """What to hand several replies over in, so that the threads of that name do not interrupt it.

    It does nothing where the process has more cores than one: there the threads run at the same time.
    """
    return nullcontext() if len(os.sched_getaffinity(0)) > 1 else Uninterrupted(thread_name)


class Uninterrupted(AbstractContextManager[None]):
    """Makes threads batch threads for a while; used again and again, by one thread.

    Args:
        thread_name: of the threads, which are looked for when it is first used.
    """

    def __init__(self, thread_name: str) -> None:
        self._thread_name = thread_name
        self._threads: tuple[int, ...] | None = None

    def __enter__(self) -> None:
        try:
            if self._threads is None:
                # What somebody has chosen otherwise is theirs.
                named = _named(self._thread_name)
                self._threads = tuple(thread for thread in named if os.sched_getscheduler(thread) == os.SCHED_OTHER)
            self._schedule(os.SCHED_BATCH)
        except OSError as error:  # a sandbox may forbid it; a front that is closed has no threads
            _LOG.info("replies are sent one by one: the threads' scheduling cannot be changed: %s", error)
            self._threads = ()

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self._schedule(os.SCHED_OTHER)

    def _schedule(self, policy: int) -> None:
        for thread in self._threads or ():
            os.sched_setscheduler(thread, policy, _NO_PRIORITY)


def _named(name: str) -> tuple[int, ...]:
    """Ids of the threads of this process that are called that."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # another thread has ended meanwhile
            if (task / "comm").read_text().rstrip("\n") == name:
                found.append(int(task.name))
    return tuple(found)
