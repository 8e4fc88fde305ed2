"""A shape is learnt for every model that a call like the one at hand may meet: while a version is on trial, for two."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from inference.contract.errors import InvalidRequest
from inference.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.calls import Asked
    from inference.core import Request
    from inference.models import Models, ServedModel
    from inference.repository.split import RoutingKeys
    from inference.transport.shapes import Choose


def learn(
    models: Models,
    keys: RoutingKeys,
    named: tuple[str, str],
    asked: Asked,
    decode: Callable[[ServedModel], Request],
    keep: Callable[[Asked, Choose | None], None],
) -> None:
    """Keep a shape for each candidate.

    Args:
        models: that the call may meet.
        keys: of the calls.
        named: model and version, as the call names them.
        asked: what it came to.
        decode: what it asks another model for.
        keep: a store's `learn`.
    """
    name, version = named
    with suppress(Refused):  # it may have gone meanwhile
        candidates = models.candidates(name, version)
        choose = keys.chooser(models, name, version) if len(candidates) > 1 else None
        for model in candidates:
            with suppress(InvalidRequest):  # another version may not know what is asked for
                request = asked.request if model is asked.model else decode(model)
                keep(asked._replace(model=model, request=request), choose)
