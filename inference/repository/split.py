"""Who meets the version on trial: decided by a hash, so that it is the same in every server and after every restart."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Final

from inference.contract.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.models import Models, ServedModel

_SPACE: Final = 1 << 64


class Split:
    """A share of all keys.

    A key belongs to it if the first 8 bytes (big-endian) of SHA-256 of `MODEL/VERSION/KEY`, in UTF-8, are less than
    `percent` hundredths of 2^64. So a larger share holds all keys of a smaller one, 0 holds none and 100 holds all; and
    for another version other keys come first: no player is always the guinea pig.

    Args:
        model: name of the model.
        version: the one on trial.
        percent: 0 to 100.
    """

    __slots__ = ("_seed", "_threshold", "percent")

    def __init__(self, model: str, version: str, percent: float) -> None:
        self.percent = checked_percent(percent)
        self._seed = f"{model}/{version}/".encode()
        self._threshold = round(percent / 100 * _SPACE)

    def takes(self, key: str) -> bool:
        """Whether a key belongs to the share."""
        digest = hashlib.sha256(self._seed + key.encode(errors="surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") < self._threshold


class RoutingKeys:
    """The key of a call: what it names itself; else its id; else one of its own, so that such calls are spread."""

    def __init__(self) -> None:
        self._calls = itertools.count()

    def of(self, routing_key: str, request_id: str = "") -> str:
        """Never empty."""
        return routing_key or request_id or f"call {next(self._calls)}"

    def chooser(self, models: Models, name: str, version: str) -> Callable[[str, str], ServedModel]:
        """Routing key and request id of a call that names these → the model that it meets."""
        return lambda routing_key, request_id: models.find(name, version, self.of(routing_key, request_id))


def checked_percent(percent: float) -> float:
    """The same number.

    Raises:
        InvalidRequest: it is no share of a hundred.
    """
    if not 0 <= percent <= 100:
        raise InvalidRequest("percent", got=percent, expected="0 to 100")
    return percent
