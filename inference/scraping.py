"""Reads a metrics page."""

from __future__ import annotations

import http.client
import urllib.request


def scrape(url: str, *, timeout_seconds: float) -> str:
    """What a page of this machine says; no proxy that the environment names is asked for it.

    Args:
        url: of the page.
        timeout_seconds: for each step of the way.

    Raises:
        OSError: nothing answers there, or not in whole HTTP.
        ValueError: it is no text.
    """
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with directly.open(url, timeout=timeout_seconds) as reply:
            content: bytes = reply.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url}: {error!r}") from error
    return content.decode()
