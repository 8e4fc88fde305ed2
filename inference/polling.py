"""Waits for whichever of several descriptors has something to read."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterable


class HasDescriptor(Protocol):
    """A socket, or what stands for one."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


Watched = TypeVar("Watched", bound=HasDescriptor)


def readable(watched: Iterable[Watched], within_seconds: float) -> list[Watched]:
    """Those of them that have something to read, or whose other end is closed.

    By `poll`: `select` takes no descriptor from 1,024 on, and `epoll` would need one more where there may be none left.

    Args:
        watched: with a descriptor each.
        within_seconds: return without any after that time.
    """
    with selectors.PollSelector() as selector:
        for one in watched:
            selector.register(one, selectors.EVENT_READ)
        return [cast("Watched", key.fileobj) for key, _ in selector.select(within_seconds)]
