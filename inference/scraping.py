"""Reads a metrics page."""

from __future__ import annotations

import urllib.request


def scrape(url: str, *, timeout_seconds: float) -> str:
    """What a page of this machine says; no proxy that the environment names is asked for it.

    Args:
        url: of the page.
        timeout_seconds: for each step of the way.

    Raises:
        OSError: nothing answers there.
        ValueError: it is no text.
    """
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with directly.open(url, timeout=timeout_seconds) as reply:
        content: bytes = reply.read()
    return content.decode()
