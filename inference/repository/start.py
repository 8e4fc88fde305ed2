"""What a server serves when it starts: what was served last, as far as that is still good."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inference.contract.errors import ArtifactError, PlayfuseError
from inference.refusals import UnknownModel
from inference.repository.router import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.repository.repository import Repository
    from inference.repository.state import ModelServing

_LOG = logging.getLogger(__name__)


def start(repository: Repository, was: Mapping[str, ModelServing], *, default: str) -> None:
    """Serve every model: the version that was live, else the one before it, else the newest that is good.

    Args:
        repository: that serves nothing yet.
        was: what was served last, by model.
        default: the model that must be there; empty for none.

    Raises:
        ArtifactError: there is nothing to serve.
    """
    layout, faults = repository.loader.layout, repository.loader.faults
    names = layout.names()
    if not names or (default and default not in names):
        raise ArtifactError(
            str(layout.root),
            got=f"no model {default!r}, only {', '.join(names)}" if names else "no models",
            expected=f"folders {default or '<name>'}/<version>/, each an artifact",
            fix="Move each artifact to the folder of its name and version.",
        )
    for name in names:
        repository.changes.know(name)
        _start(repository, name, was.get(name))
    if not repository.router.routes.by_name:
        if len(repository.record.not_served) < len(names) or faults:
            said = "; ".join(faults.values()) or "models without a version"
            raise ArtifactError(str(layout.root), got=said, expected="at least one version that can be served")
        _LOG.warning("nothing is served: all models were unloaded; load one")


def _start(repository: Repository, name: str, was: ModelServing | None) -> None:
    if was is not None and not was.live:
        repository.record.not_served[name] = was
        _LOG.warning("%s is not served: it was unloaded", name)
        return
    wished = [version for version in (was.live, was.previous) if version] if was else []
    for version in dict.fromkeys([*wished, *repository.loader.versions(name)]):
        try:
            model = repository.loader.to_serve(name, version)
        except (ArtifactError, UnknownModel) as error:
            repository.loader.faults[name, version] = str(error)
            continue
        goes_on = was is not None and was.live == version
        route = Route(model, was.previous if was and goes_on else "", reads=was.reads if was else 0)
        repository.router.change(lambda routes, route=route: routes.with_route(name, route))  # type: ignore[misc]
        if was is not None and goes_on:
            _resume(repository, name, was)
        elif wished:
            _LOG.error("%s %s is live instead of %s", name, version, wished[0])
        return
    if was is not None:
        repository.record.not_served[name] = was
    _LOG.error("no version of %s can be served", name)


def _resume(repository: Repository, name: str, was: ModelServing) -> None:
    trials = repository.trials
    for share, begin in ((was.canary, trials.start_canary), (was.shadow, trials.start_shadow)):
        if share is not None:
            try:
                begin(name, share.version, share.percent)
            except (PlayfuseError, UnknownModel) as error:
                _LOG.error("the trial of %s %s does not go on: %s", name, share.version, error)
