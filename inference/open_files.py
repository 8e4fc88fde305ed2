"""How many files, and so connections, this process may have open."""

from __future__ import annotations

import resource


def raise_limit() -> int:
    """Raise the soft limit to the hard one: every connection is a file, and the usual 1,024 are soon used up.

    Returns:
        the limit that holds now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
