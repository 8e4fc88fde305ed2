"""Serves what another server says that it serves: the same versions, shares and copies, read from the same folders."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inference.contract.errors import PlayfuseError
from inference.refusals import UnknownModel
from inference.repository.state import ModelServing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inference.repository.repository import Repository

_LOG = logging.getLogger(__name__)


def follow(repository: Repository, wanted: Mapping[str, ModelServing]) -> bool:
    """Serve that, as far as it can be done; what cannot stays as it is, and is logged and counted.

    Args:
        repository: that follows; nobody else changes it meanwhile.
        wanted: how each model is to be served; others are served no more.

    Returns:
        Whether all of it is served now.
    """
    is_all = True
    for name in sorted({*wanted, *repository.router.routes.by_name}):
        serving = wanted.get(name, ModelServing())
        if serving.live:
            is_all &= _serve(repository, name, serving)
            continue
        if name in repository.router.routes.by_name:
            repository.make_away(name, serving)
        if name in wanted:
            repository.record.not_served[name] = serving
        else:
            repository.record.not_served.pop(name, None)
    return is_all


def _serve(repository: Repository, name: str, wanted: ModelServing) -> bool:
    if not _could(repository, name, _live, wanted):
        return False  # trials beside another version would compare something else
    return all([_could(repository, name, trial, wanted) for trial in (_canary, _shadow)])


def _live(repository: Repository, name: str, wanted: ModelServing) -> None:
    route = repository.router.routes.by_name.get(name)
    if route is not None and (route.live.version, route.reads) == (wanted.live, wanted.reads):
        if route.previous != wanted.previous:
            repository.router.edit(name, lambda route: route._replace(previous=wanted.previous))
        return
    canary = None if route is None or route.reads != wanted.reads else route.canary
    if canary is not None and canary.model.version == wanted.live:  # promoted: it is here already
        repository.make_live(canary.model, previous=wanted.previous, reads=wanted.reads, on_trial=canary)
    else:
        model = repository.loader.to_serve(name, wanted.live)
        repository.make_live(model, previous=wanted.previous, reads=wanted.reads)


def _canary(repository: Repository, name: str, wanted: ModelServing) -> None:
    canary, share = repository.router.route(name).canary, wanted.canary
    if share is None:
        if canary is not None:
            repository.trials.end_trial(name)
    elif canary is None or (canary.model.version, canary.split.percent) != (share.version, share.percent):
        repository.trials.put_on_trial(name, share.version, share.percent)


def _shadow(repository: Repository, name: str, wanted: ModelServing) -> None:
    shadow, share = repository.router.route(name).shadow, wanted.shadow
    if share is None:
        if shadow is not None:
            repository.trials.end_shadow(name)
    elif shadow is None or (shadow.model.version, shadow.percent) != (share.version, share.percent):
        repository.trials.put_in_shadow(name, share.version, share.percent)


def _could(
    repository: Repository, name: str, step: Callable[[Repository, str, ModelServing], None], wanted: ModelServing
) -> bool:
    try:
        step(repository, name, wanted)
    except UnknownModel as error:  # the folder has gone; what is wrong with files is counted where they are read
        repository.changes.know(name)
        repository.changes.load_failures[name].add()
        _LOG.error("%s does not follow the owner: %s", name, error)
        return False
    except PlayfuseError as error:
        _LOG.error("%s does not follow the owner: %s", name, error)
        return False
    return True
